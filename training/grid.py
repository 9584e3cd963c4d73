"""The grid of codebook indices that a map is laid on (section 2.1 of Irie et al. 2023).

K: number of codes. G: grid dimensions, 1 or 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Grid:
    """A rectangular grid without wrap-around: one node a code.

    ``shape`` is (rows, columns), or (n,) for a line. Code k stands at x = k % columns and
    y = k // columns: the 512 codes of the paper's 32 by 16 map have shape (16, 32).
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) not in (1, 2) or any(side < 1 for side in self.shape):
            raise ValueError(
                f"map shape {self.shape}: must have 1 or 2 sides of at least 1; use e.g. (16, 32) or (512,)"
            )

    @classmethod
    def for_codebook(cls, shape: tuple[int, ...], codebook_size: int) -> Grid:
        """The grid of that shape. Raises ValueError unless it has ``codebook_size`` nodes."""
        grid = cls(shape)
        if grid.size != codebook_size:
            raise ValueError(
                f"map shape {shape} has {grid.size} nodes but the codebook has {codebook_size} codes; "
                "choose sides whose product is the codebook size"
            )
        return grid

    @property
    def size(self) -> int:
        """Number of nodes, K."""
        return math.prod(self.shape)

    def coordinates(self) -> Tensor:
        """Coordinates of each code, int64 [K, G]: (x, y), or (x,) on a line."""
        index = torch.arange(self.size)
        if len(self.shape) == 1:
            return index[:, None]
        columns = self.shape[1]
        return torch.stack([index % columns, index // columns], dim=1)

    def distances(self) -> Tensor:
        """Euclidean distances between all nodes, float64 [K, K]: ||G(i) - G(j)||."""
        position = self.coordinates().double()
        return (position[:, None] - position[None]).square().sum(-1).sqrt()

    def shift(self, codes: Tensor, offset: int) -> Tensor:
        """Codes, int64 of any shape, moved by ``offset`` along each axis of the map (Figure 5).

        A move that would leave the map is made the other way along that axis, so that every code moves by the
        same distance. Raises ValueError where a side is too short for that.
        """
        if min(self.shape) < 2 * abs(offset):
            raise ValueError(
                f"offset {offset}: a map of shape {self.shape} allows at most {min(self.shape) // 2}"
            )
        moved = torch.zeros_like(codes)
        for axis, stride in enumerate(self._strides()):
            side = self.shape[axis]
            place = codes // stride % side
            there = place + offset
            moved += torch.where((there < 0) | (there >= side), place - offset, there) * stride
        return moved

    def _strides(self) -> tuple[int, ...]:
        """Step in the code's number for one step along each axis of ``shape``."""
        return tuple(math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))
