"""Which tokens may be neighbors: few enough to be measured exactly.

K codebook_size, D code_dim, N tokens asked for, C candidates of each.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from .map_geometry import MapGeometry
from .map_layout import Vectors


class Candidates(Protocol):
    """One way to find candidates."""

    values_each: int
    """Values of the largest temporary array, for each token asked for."""

    def find(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Candidates int64 [N, C] of `tokens` [N], -1 where there are fewer; no token is its own."""
        ...


class MapDisc:
    """Every token within a distance on the map, found by arithmetic."""

    def __init__(self, geometry: MapGeometry, *, radius: float) -> None:
        """Take the map and the largest distance, inclusive."""
        self._geometry = geometry
        self._moves = geometry.moves_within(radius)
        self.values_each = self._moves.size

    def find(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The tokens of the disc around each of `tokens`."""
        return self._geometry.tokens_at(self._geometry.places[tokens][:, np.newaxis] + self._moves)


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


def radius_of_k_nearest(geometry: MapGeometry, *, k: int) -> float:
    """The least distance on the map within which every token has k others, 1 to K - 1."""
    everyone = np.arange(len(geometry.places))
    return max(
        float(np.partition(geometry.distances(everyone, token), k)[k]) for token in geometry.outermost()
    )


def most_within(geometry: MapGeometry, *, radius: float) -> int:
    """The most others that any token has within `radius` on the map."""
    everyone = np.arange(len(geometry.places))
    return max(
        int((geometry.distances(everyone, token) <= radius).sum()) - 1 for token in geometry.innermost()
    )
