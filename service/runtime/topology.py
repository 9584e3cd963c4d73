"""The Kohonen map of a codebook: where each token lies, and which tokens are near it.

K codebook_size, D code_dim, G map dimensions (1 or 2). Token k lies at x = k % columns, y = k // columns, and
the map does not wrap around. Two distances matter: `grid_distance`, Euclidean between places on the map, and
`codebook_distance`, Euclidean between code vectors; on a well-ordered map the second grows with the first.
"""

import math
import operator
from dataclasses import dataclass
from typing import Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError, TokenRangeError

Coordinates = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float32]

# On a 2-D map this takes in the eight tokens around: sqrt(2) < 1.5 < 2 (Figure 1 of Irie et al. 2023).
DEFAULT_RADIUS = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbor:
    """A token near another one, with both of its distances from it."""

    token: int
    coordinates: tuple[int, ...]
    """(x, y) on a 2-D map, (x,) on a 1-D map."""
    grid_distance: float
    codebook_distance: float


def map_coordinates(map_shape: tuple[int, ...]) -> Coordinates:
    """Places int32 [K, G], (x, y) or (x,), of the tokens on a map of `map_shape`, (rows, columns) or (K,)."""
    places = np.indices(map_shape, dtype=np.int32).reshape(len(map_shape), -1)
    # np.indices counts rows first; coordinates put x, the column, first.
    return np.ascontiguousarray(places[::-1].T)


class Topology:
    """Neighbors on a map.

    It holds the codebook and no K x K table: each question costs O(K D) time and memory, so that 65,536 codes
    are no burden.
    """

    def __init__(self, coordinates: Coordinates, *, vectors: Vectors) -> None:
        """Take `coordinates` int32 [K, G] and `vectors` float32 [K, D] of the same codebook."""
        self._coordinates = coordinates
        self._vectors = vectors

    def neighbors(
        self,
        token: SupportsIndex,
        *,
        radius: float | None = None,
        k: SupportsIndex | None = None,
        by: Literal["map", "codebook"] = "map",
    ) -> list[Neighbor]:
        """The tokens near `token`, which is itself never among them.

        Args:
            token: 0 to K - 1.
            radius: every token at a grid distance of at most this; needs `by="map"`. 1.5, the default where
                `k` is not given either, takes in the eight around.
            k: this many nearest tokens, 1 to K - 1.
            by: the distance that decides: on the map or between code vectors.

        Returns:
            Nearest first by that distance; equal ones by the other distance, then by token.

        Raises:
            TokenRangeError: no such token.
            ParameterError: both `radius` and `k`, either outside its limits, or `by="codebook"` without `k`.
        """
        token = self._checked_token(token)
        if by not in ("map", "codebook"):
            raise ParameterError(f'by is {by!r}; it must be "map" or "codebook"')
        if radius is not None and k is not None:
            raise ParameterError(f"radius {radius} and k {k} were both given; give one of them")
        if radius is not None and by == "codebook":
            raise ParameterError('radius is a distance on the map; leave it out, or use by="map"')

        grid_distances = _distances(self._coordinates, token)
        codebook_distances = _distances(self._vectors, token)
        if by == "map":
            order = np.lexsort((codebook_distances, grid_distances))
        else:
            order = np.lexsort((grid_distances, codebook_distances))
        order = order[order != token]

        if k is not None:
            order = order[: self._checked_k(k)]
        elif by == "codebook":
            raise ParameterError('by="codebook" needs k: how many nearest tokens')
        else:
            order = order[grid_distances[order] <= _checked_radius(radius)]

        return [
            Neighbor(
                token=int(index),
                coordinates=tuple(self._coordinates[index].tolist()),
                grid_distance=float(grid_distances[index]),
                codebook_distance=float(codebook_distances[index]),
            )
            for index in order
        ]

    def _checked_token(self, token: SupportsIndex) -> int:
        codebook_size = len(self._coordinates)
        index = operator.index(token)
        if not 0 <= index < codebook_size:
            raise TokenRangeError(
                f"token {index} is outside 0 to {codebook_size - 1}; use a token of this model"
            )
        return index

    def _checked_k(self, k: SupportsIndex) -> int:
        num_others = len(self._coordinates) - 1
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


def _distances(points: npt.NDArray[np.generic], index: int) -> npt.NDArray[np.float64]:
    """Euclidean distance of every row of `points` from row `index`, in float64: [K]."""
    differences = points.astype(np.float64) - points[index].astype(np.float64)
    squares: npt.NDArray[np.float64] = np.square(differences).sum(axis=1)
    return np.sqrt(squares)
