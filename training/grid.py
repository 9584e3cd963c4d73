"""The grid of codebook indices that a map is laid on (section 2.1 of Irie et al. 2023), in three topologies.

``Grid`` is the paper's; ``ToroidalGrid`` and ``HexagonalGrid`` number their codes as it does and differ in
how far codes are apart, which of them touch, and where a move leads.

K: number of codes. G: grid dimensions, 1 or 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

MapTopology = Literal["rectangular", "toroidal", "hexagonal"]

Connectivity = Literal[4, 8]
"""Which nodes are adjacent: those that share an edge (4), or an edge or a corner (8)."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A rectangular grid without wrap-around: one node a code. The other topologies derive from it.

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

    @property
    def max_offset(self) -> int:
        """The largest offset that ``shift`` takes."""
        return min(self.shape) // 2

    @property
    def middle(self) -> int:
        """The code in the middle of the map, or next to it."""
        return sum(side // 2 * stride for side, stride in zip(self.shape, self._strides(), strict=True))

    def coordinates(self) -> Tensor:
        """Column and row of each code, int64 [K, G]: (x, y), or (x,) on a line."""
        index = torch.arange(self.size)
        if len(self.shape) == 1:
            return index[:, None]
        columns = self.shape[1]
        return torch.stack([index % columns, index // columns], dim=1)

    def positions(self) -> Tensor:
        """Where each code is drawn in the plane, float64 [K, G], with 1 between a code and the next."""
        return self.coordinates().double()

    def distances(self) -> Tensor:
        """Euclidean distances between all nodes, float64 [K, K]: ||G(i) - G(j)||."""
        return self._steps().double().square().sum(-1).sqrt()

    def adjacency(self, *, connectivity: Connectivity = 8) -> Tensor:
        """Which nodes are adjacent, bool [K, K]; on a line the next ones, whatever ``connectivity`` is.

        Raises ValueError for a ``connectivity`` that is neither 4 nor 8.
        """
        steps = self._steps().abs()
        if connectivity == 8:
            return steps.amax(-1) == 1
        if connectivity == 4:
            return steps.sum(-1) == 1
        raise ValueError(f"connectivity {connectivity}: use 8 or 4")

    def shift(self, codes: Tensor, offset: int) -> Tensor:
        """Codes, int64 of any shape, moved by ``offset`` along each axis of the map (Figure 5).

        A move that would leave the map is made the other way along that axis, so that every code moves by the
        same distance. Raises ValueError where a side is too short for that.
        """
        self._check_offset(offset)
        moved = torch.zeros_like(codes)
        for axis, stride in enumerate(self._strides()):
            moved += self._moved(codes // stride % self.shape[axis], offset, self.shape[axis]) * stride
        return moved

    def _steps(self) -> Tensor:
        """Steps along each axis from the second node to the first, int64 [K, K, G]."""
        place = self.coordinates()
        return place[:, None] - place

    def _moved(self, places: Tensor, offset: int, side: int) -> Tensor:
        """Places 0 to ``side`` - 1 along one axis after a move by ``offset``."""
        there = places + offset
        return torch.where((there < 0) | (there >= side), places - offset, there)

    def _check_offset(self, offset: int) -> None:
        if abs(offset) > self.max_offset:
            raise ValueError(f"offset {offset}: a map of shape {self.shape} allows at most {self.max_offset}")

    def _strides(self) -> tuple[int, ...]:
        """Step in the code's number for one step along each axis of ``shape``."""
        return tuple(math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))


@dataclass(frozen=True, slots=True)
class ToroidalGrid(Grid):
    """A rectangular grid whose opposite edges are joined: a torus, or a ring where it has one side.

    It has neither edges nor corners, so that every code has as many neighbors as any other.
    """

    def _steps(self) -> Tensor:
        # The shorter way round. (super() fails here: slots make the decorator build the class anew.)
        steps = Grid._steps(self)
        sides = torch.tensor(self.shape[::-1])
        return torch.minimum(steps % sides, -steps % sides)

    def _moved(self, places: Tensor, offset: int, side: int) -> Tensor:
        return (places + offset) % side


@dataclass(frozen=True, slots=True)
class HexagonalGrid(Grid):
    """Rows of hexagons, the odd ones half a step to the right: six neighbors, all at distance 1.

    Rows are sqrt(3)/2 apart. Lattice places are integers (2 x + (y odd), y), "doubled coordinates": with
    differences dX and dY in them a distance is sqrt((dX^2 + 3 dY^2) / 4), exact until the root is taken, and
    a move between two nodes is the same pair of numbers from every row.
    """

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or any(side < 1 for side in self.shape):
            raise ValueError(
                f"map shape {self.shape}: a hexagonal map has 2 sides of at least 1; use e.g. (16, 32)"
            )

    @property
    def max_offset(self) -> int:
        """The largest offset that ``shift`` takes."""
        rows, columns = self.shape
        return min(rows // 2, columns // 3)

    def positions(self) -> Tensor:
        """Where each code is drawn in the plane, float64 [K, 2], with 1 between a code and the next."""
        return self._places().double() * torch.tensor([0.5, math.sqrt(3) / 2], dtype=torch.float64)

    def distances(self) -> Tensor:
        """Euclidean distances between the centers of all hexagons, float64 [K, K]."""
        return (self._squares().double() / 4).sqrt()

    def adjacency(self, *, connectivity: Connectivity = 8) -> Tensor:
        """Which nodes are adjacent, bool [K, K]: the six around, for hexagons that touch share an edge.

        Raises ValueError for a ``connectivity`` that is neither 4 nor 8.
        """
        if connectivity not in (4, 8):
            raise ValueError(f"connectivity {connectivity}: use 8 or 4")
        return self._squares() == 4

    def shift(self, codes: Tensor, offset: int) -> Tensor:
        """Codes, int64 of any shape, moved by ``offset`` along each of two axes: the row, and 60 degrees off.

        A move that would leave the map is mirrored in the plane, left to right, top to bottom or both, so
        that every code moves by sqrt(3) ``offset``. Raises ValueError where the map is too small for that.
        """
        self._check_offset(offset)
        rows, columns = self.shape
        x, y = self._places().to(codes.device).unbind(1)
        there_y = self._moved(y, offset, rows)
        odd = there_y % 2
        right = x + 3 * offset
        there_x = torch.where((right < odd) | (right - odd > 2 * columns - 2), x - 3 * offset, right)
        return ((there_x - odd) // 2 + there_y * columns)[codes]

    def _places(self) -> Tensor:
        """Doubled coordinates, int64 [K, 2]."""
        x, y = self.coordinates().unbind(1)
        return torch.stack([2 * x + y % 2, y], dim=1)

    def _squares(self) -> Tensor:
        """Four times the squared distances between all nodes, int64 [K, K]."""
        place = self._places()
        return ((place[:, None] - place).square() * torch.tensor([1, 3])).sum(-1)


GRIDS: dict[MapTopology, type[Grid]] = {
    "rectangular": Grid,
    "toroidal": ToroidalGrid,
    "hexagonal": HexagonalGrid,
}
