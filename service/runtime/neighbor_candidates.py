"""Which tokens may be neighbors: few enough to be measured exactly.

K codebook_size, D code_dim, G map dimensions (1 or 2), N tokens asked for, C candidates of each.
"""

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .map_layout import Coordinates, Vectors, map_sides, map_strides


class Candidates(Protocol):
    """One way to find candidates."""

    values_each: int
    """Values of the largest temporary array, for each token asked for."""

    def find(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Candidates int64 [N, C] of `tokens` [N], -1 where there are fewer; no token is its own."""
        ...


class MapDisc:
    """Every token within a distance on the map, found by arithmetic."""

    def __init__(self, coordinates: Coordinates, *, radius: float) -> None:
        """Take the map `coordinates` [K, G] and the largest distance, inclusive."""
        sides = map_sides(coordinates)
        self._coordinates = coordinates
        self._sides = sides
        self._moves = _disc(sides, radius=radius)
        self._strides = map_strides(sides)
        self.values_each = self._moves.size

    def find(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The tokens of the disc around each of `tokens`."""
        places = self._coordinates[tokens][:, np.newaxis] + self._moves
        on_map = ((places >= 0) & (places < self._sides)).all(axis=2)
        return np.where(on_map, tokens[:, np.newaxis] + self._moves @ self._strides, -1)


class NearestVectors:
    """The k tokens with the nearest code vectors, and those that rounding cannot tell from the k-th.

    All K distances come from |a|^2 - 2 ab + |b|^2, a product of matrices: fast, but close vectors that are
    far from zero lose their difference in it.
    """

    def __init__(self, vectors: Vectors, *, k: int) -> None:
        """Take the code `vectors` [K, D] and k, 1 to K - 1."""
        self._vectors = vectors.astype(np.float64)
        self._norms = np.square(self._vectors).sum(axis=1)
        self._k = k
        # A sum of n products is wrong by at most n eps times the sum of their absolute values, which here is
        # at most 4 times the largest norm; the k-th may be wrong that far, and what comes before it too.
        num_terms = vectors.shape[1] + 2
        self._slack = 8 * num_terms * np.finfo(np.float64).eps * self._norms.max()
        self.values_each = len(vectors)

    def find(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The tokens that may be among the k nearest of each of `tokens`; beyond them, some that are not."""
        squares = (
            self._norms[tokens][:, np.newaxis] - 2 * self._vectors[tokens] @ self._vectors.T + self._norms
        )
        squares[np.arange(len(tokens)), tokens] = np.inf
        kth = np.partition(squares, self._k - 1, axis=1)[:, self._k - 1, np.newaxis]
        # An infinite distance passes nowhere, so that the token itself is not counted.
        num_candidates = int((squares <= kth + self._slack).sum(axis=1).max())
        return np.argpartition(squares, num_candidates - 1, axis=1)[:, :num_candidates]


def radius_of_k_nearest(coordinates: Coordinates, *, k: int) -> float:
    """The least distance on the map within which every token has k others, 1 to K - 1."""
    # Within any distance, no token has fewer than one in a corner.
    return float(np.partition(_lengths(coordinates), k)[k])


def most_within(coordinates: Coordinates, *, radius: float) -> int:
    """The most others that any token has within `radius` on the map."""
    # Within any distance, no token has more than one in the middle.
    return int((_lengths(coordinates - coordinates[-1] // 2) <= radius).sum()) - 1


def _disc(sides: tuple[int, ...], *, radius: float) -> npt.NDArray[np.int64]:
    """The moves int64 [C, G] of at most `radius` that a map of `sides` has room for, but for no move."""
    reaches = [math.floor(min(radius, side - 1)) for side in sides]
    axes = np.meshgrid(*(np.arange(-reach, reach + 1) for reach in reaches), indexing="ij")
    moves = np.stack(axes, axis=-1).reshape(-1, len(sides))
    lengths = _lengths(moves)
    return moves[(lengths > 0) & (lengths <= radius)]


def _lengths(moves: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Euclidean length of each of `moves` [C, G], the same as the distance of two places that far apart."""
    squares: npt.NDArray[np.float64] = np.square(moves.astype(np.float64)).sum(axis=1)
    return np.sqrt(squares)
