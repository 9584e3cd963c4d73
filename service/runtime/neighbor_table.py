"""The neighbors of many tokens at once, as arrays.

K codebook_size, D code_dim, G map dimensions (1 or 2), N tokens asked for, M neighbors of each, C candidates.

Few of the K x K pairs matter, so few are looked at closely: candidates alone are measured, in float64, and
ordered by distance.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError
from .chunks import chunks
from .map_geometry import MapGeometry
from .map_layout import Vectors
from .neighbor_candidates import (
    Candidates,
    MapDisc,
    NearestVectors,
    most_within,
    radius_of_k_nearest,
)

By = Literal["map", "codebook"]

# On a 2-D map this takes in the eight tokens around: sqrt(2) < 1.5 < 2 (Figure 1 of Irie et al. 2023).
DEFAULT_RADIUS = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighborTable:
    """The neighbors of N tokens, nearest first; rows with fewer than M end in padding."""

    tokens: npt.NDArray[np.int32]
    """int32 [N, M]; -1 is padding. A token is never in its own row."""
    grid_distance: npt.NDArray[np.floating[Any]]
    """[N, M]: Euclidean on the map; infinite for padding."""
    codebook_distance: npt.NDArray[np.floating[Any]]
    """[N, M]: Euclidean between code vectors; infinite for padding."""


class NeighborSearch:
    """One choice of neighbors, the same for every token.

    Attributes:
        width: M, the most neighbors that a token of this map has by this choice.
    """

    def __init__(
        self,
        geometry: MapGeometry,
        *,
        vectors: Vectors,
        radius: float | None = None,
        k: SupportsIndex | None = None,
        by: By = "map",
    ) -> None:
        """Take the map and the `vectors` [K, D] of a codebook, and the choice.

        Args:
            geometry: the map.
            vectors: float32 [K, D], the code vectors.
            radius: every token at a grid distance of at most this; needs `by="map"`. 1.5, the default where
                `k` is not given either, takes in the eight around.
            k: this many nearest tokens, 1 to K - 1.
            by: the distance that decides: on the map or between code vectors.

        Raises:
            ParameterError: both `radius` and `k`, either outside its limits, or `by="codebook"` without `k`.
        """
        if by not in ("map", "codebook"):
            raise ParameterError(f'by is {by!r}; it must be "map" or "codebook"')
        if radius is not None and k is not None:
            raise ParameterError(f"radius {radius} and k {k} were both given; give one of them")
        if radius is not None and by == "codebook":
            raise ParameterError('radius is a distance on the map; leave it out, or use by="map"')
        self._geometry = geometry
        self._vectors = vectors
        self._by = by
        self._candidates: Candidates
        if k is not None:
            self.width = _checked_k(k, num_others=len(vectors) - 1)
            if by == "codebook":
                self._candidates = NearestVectors(vectors, k=self.width)
            else:
                reach = radius_of_k_nearest(geometry, k=self.width)
                self._candidates = MapDisc(geometry, radius=reach)
        elif by == "codebook":
            raise ParameterError('by="codebook" needs k: how many nearest tokens')
        else:
            reach = _checked_radius(radius)
            self.width = most_within(geometry, radius=reach)
            self._candidates = MapDisc(geometry, radius=reach)

    def find(
        self, tokens: npt.NDArray[np.int64], *, dtype: type[np.floating[Any]] = np.float32
    ) -> NeighborTable:
        """The neighbors of `tokens` [N], each 0 to K - 1, with distances as `dtype`.

        Nearest first by the distance that decides; equal ones by the other distance, then by token.
        """
        shape = (len(tokens), self.width)
        table = NeighborTable(
            tokens=np.empty(shape, dtype=np.int32),
            grid_distance=np.empty(shape, dtype=dtype),
            codebook_distance=np.empty(shape, dtype=dtype),
        )
        for chunk in chunks(len(tokens), values_each=self._candidates.values_each):
            self._fill(table, chunk, tokens[chunk])
        return table

    def find_all(self) -> NeighborTable:
        """The neighbors of all K tokens, with distances as float32."""
        return self.find(np.arange(len(self._vectors)))

    def _fill(self, table: NeighborTable, chunk: slice, tokens: npt.NDArray[np.int64]) -> None:
        found = self._candidates.find(tokens)
        grid_distance = _distances(tokens, found, of=self._geometry.distances, values_each=2)
        codebook_distance = _distances(
            tokens, found, of=self._between_vectors, values_each=self._vectors.shape[1]
        )
        if self._by == "map":
            keys = (found, codebook_distance, grid_distance)
        else:
            keys = (found, grid_distance, codebook_distance)
        # The last key is the first to decide.
        order = np.lexsort(keys, axis=1)[:, : self.width]
        table.tokens[chunk] = np.take_along_axis(found, order, axis=1)
        table.grid_distance[chunk] = np.take_along_axis(grid_distance, order, axis=1)
        table.codebook_distance[chunk] = np.take_along_axis(codebook_distance, order, axis=1)

    def _between_vectors(
        self, tokens: npt.NDArray[np.int64], others: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Euclidean distances of the code vectors of `tokens` [P] from those of `others` [P], in float64."""
        differences = self._vectors[tokens].astype(np.float64) - self._vectors[others].astype(np.float64)
        squares: npt.NDArray[np.float64] = np.square(differences).sum(axis=1)
        return np.sqrt(squares)


def _checked_k(k: SupportsIndex, *, num_others: int) -> int:
    count = operator.index(k)
    if not 1 <= count <= num_others:
        raise ParameterError(f"k is {count}; it must be 1 to {num_others}, the number of other tokens")
    return count


def _checked_radius(radius: float | None) -> float:
    if radius is None:
        return DEFAULT_RADIUS
    if not math.isfinite(radius) or radius < 0:
        raise ParameterError(f"radius is {radius}; it must be a number of 0 or more")
    return radius


def _distances(
    tokens: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
    *,
    of: Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.float64]],
    values_each: int,
) -> npt.NDArray[np.float64]:
    """Distances, by the function `of`, of `tokens` [N] from `others` [N, C]: float64 [N, C].

    `values_each` is how many values `of` needs for a pair. Where there is no other, -1, it is infinitely far.
    """
    distances = np.full(others.shape, np.inf)
    rows, columns = np.nonzero(others >= 0)
    for chunk in chunks(len(rows), values_each=values_each):
        pairs = rows[chunk], columns[chunk]
        distances[pairs] = of(tokens[pairs[0]], others[pairs])
    return distances
