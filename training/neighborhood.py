"""Neighborhoods: how far an update of one code reaches over the map (Eqs. 3-5 of Irie et al. 2023).

Each is a small object with one method, ``matrix(distances, step)``: from the grid distances [K, K] and
the step t (an int64 scalar tensor, so that nothing leaves the device) to the matrix A(t) [K, K] in the
distances' dtype, with ones on its diagonal. All of them shrink to the identity as t grows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Neighborhood(Protocol):
    """What the quantizer asks of a neighborhood."""

    def matrix(self, distances: Tensor, step: Tensor) -> Tensor:
        """A(t) [K, K] from grid distances [K, K] and the step t, int64 []."""
        ...


@dataclass(frozen=True, slots=True)
class NoNeighborhood:
    """A = I at all times: KSOM falls back to EMA-VQ (Remark 3.1)."""

    def matrix(self, distances: Tensor, step: Tensor) -> Tensor:
        return torch.eye(len(distances), dtype=distances.dtype, device=distances.device)


@dataclass(frozen=True, slots=True)
class HardNeighborhood:
    """1 / (1 + t tau) for the nodes within ``radius``, 0 beyond it, 1 for the node itself (Eqs. 3-4).

    The default radius lies between sqrt(2) and 2: two neighbors on a line, the eight around on a grid.
    """

    shrink_step: float
    radius: float = 1.5

    def __post_init__(self) -> None:
        _check_shrink_step(self.shrink_step)

    def matrix(self, distances: Tensor, step: Tensor) -> Tensor:
        near = (distances <= self.radius).to(distances.dtype)
        strength = 1 / (1 + step.to(distances.dtype) * self.shrink_step)
        return near.mul_(strength).fill_diagonal_(1)


@dataclass(frozen=True, slots=True)
class GaussianNeighborhood:
    """exp(-d^2 (1 + t tau)): Eq. 5 as it is printed."""

    shrink_step: float

    def __post_init__(self) -> None:
        _check_shrink_step(self.shrink_step)

    def matrix(self, distances: Tensor, step: Tensor) -> Tensor:
        return torch.exp(-distances.square() * (1 + step.to(distances.dtype) * self.shrink_step))


@dataclass(frozen=True, slots=True)
class WideGaussianNeighborhood:
    """exp(-d (1 + t tau) / base), d not squared: the form behind the paper's "Gaussian" figures.

    The authors' published code differs from Eq. 5 in this way; it reaches far more codes at the start.
    """

    shrink_step: float
    base: float = 10.0

    def __post_init__(self) -> None:
        _check_shrink_step(self.shrink_step)

    def matrix(self, distances: Tensor, step: Tensor) -> Tensor:
        return torch.exp(-distances * (1 + step.to(distances.dtype) * self.shrink_step) / self.base)


def _check_shrink_step(shrink_step: float) -> None:
    if not (shrink_step > 0 and math.isfinite(shrink_step)):
        raise ValueError(
            f"shrink_step {shrink_step}: must be a finite number over 0; the paper's choice is 0.1"
        )
