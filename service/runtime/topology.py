"""The Kohonen map of a codebook: which tokens are near each other, and how to move among them.

K codebook_size, D code_dim, G map dimensions (1 or 2), M neighbors. Two distances matter:
`grid_distance`, Euclidean between places on the map (on a torus the shorter way round), and
`codebook_distance`, Euclidean between code vectors; on a well-ordered map the second grows with the first.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, SupportsIndex

import numpy as np
import numpy.typing as npt

from ..errors import TokenRangeError
from .hexagonal_map import HexagonalMap
from .map_edges import Edge
from .map_geometry import MapGeometry
from .map_layout import Coordinates, MapTopology, Vectors, checked_tokens
from .map_moves import interpolate, perturb
from .neighbor_table import By, NeighborSearch, NeighborTable
from .soft_targets import DenseTargets, SparseTargets, dense_targets, sparse_targets
from .square_maps import RectangularMap, ToroidalMap

IntegerTokens = npt.NDArray[np.integer]

_GEOMETRIES: Final[dict[MapTopology, type[MapGeometry]]] = {
    "rectangular": RectangularMap,
    "toroidal": ToroidalMap,
    "hexagonal": HexagonalMap,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbor:
    """A token near another one, with both of its distances from it."""

    token: int
    coordinates: tuple[int, ...]
    """(x, y) on a 2-D map, (x,) on a 1-D map."""
    grid_distance: float
    codebook_distance: float


class Topology:
    """Questions to a map. Safe to use from several threads.

    It holds the codebook and no K x K table, and computes in pieces: beside its answer a question needs
    memory for some millions of values or for O(K D), whichever is more, so that 65,536 codes are no burden.
    """

    def __init__(
        self, coordinates: Coordinates, *, vectors: Vectors, map_topology: MapTopology = "rectangular"
    ) -> None:
        """Take `coordinates` int32 [K, G] and `vectors` float32 [K, D] of the same codebook."""
        self._coordinates = coordinates
        self._vectors = vectors
        self._geometry = _GEOMETRIES[map_topology](coordinates)

    def neighbors(
        self,
        token: SupportsIndex,
        *,
        radius: float | None = None,
        k: SupportsIndex | None = None,
        by: By = "map",
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
        index = operator.index(token)
        if not 0 <= index < len(self._coordinates):
            raise TokenRangeError(
                f"token {index} is outside 0 to {len(self._coordinates) - 1}; use a token of this model"
            )
        row = self.search(radius=radius, k=k, by=by).find(np.array([index]), dtype=np.float64)
        return [
            Neighbor(
                token=other,
                coordinates=tuple(self._coordinates[other].tolist()),
                grid_distance=grid_distance,
                codebook_distance=codebook_distance,
            )
            for other, grid_distance, codebook_distance in zip(
                row.tokens[0].tolist(),
                row.grid_distance[0].tolist(),
                row.codebook_distance[0].tolist(),
                strict=True,
            )
            if other >= 0
        ]

    def search(
        self, *, radius: float | None = None, k: SupportsIndex | None = None, by: By = "map"
    ) -> NeighborSearch:
        """The choice of neighbors that `neighbors` makes, for any number of tokens: see `NeighborSearch`.

        Raises:
            ParameterError: as `neighbors`.
        """
        return NeighborSearch(self._geometry, vectors=self._vectors, radius=radius, k=k, by=by)

    def neighbor_table(
        self, *, radius: float | None = None, k: SupportsIndex | None = None, by: By = "map"
    ) -> NeighborTable:
        """The neighbors of all K tokens, in the order of `neighbors`: int32 and float32 [K, M].

        With `radius`, M is what the token in the middle of the map has; with `k` it is k.

        Raises:
            ParameterError: as `neighbors`.
        """
        return self.search(radius=radius, k=k, by=by).find_all()

    def soft_targets(self, tokens: IntegerTokens | None = None, *, sigma: float) -> DenseTargets:
        """Weights float32 [..., K] of all codes for `tokens` [...], or for all K tokens: see `dense_targets`.

        Raises:
            TokensError: no integers.
            TokenRangeError: no such token.
            ParameterError: sigma is not over 0.
        """
        return dense_targets(self._checked(tokens), geometry=self._geometry, sigma=sigma)

    def sparse_soft_targets(
        self,
        tokens: IntegerTokens | None = None,
        *,
        sigma: float,
        radius: float | None = None,
        k: SupportsIndex | None = None,
    ) -> SparseTargets:
        """The same for tokens and their neighbors on the map alone, [..., M + 1]: see `sparse_targets`.

        Raises:
            TokensError: no integers.
            TokenRangeError: no such token.
            ParameterError: sigma is not over 0; or as `neighbors`.
        """
        search = self.search(radius=radius, k=k)
        return sparse_targets(self._checked(tokens), search=search, sigma=sigma)

    def perturb(
        self, tokens: IntegerTokens, *, offset: Sequence[SupportsIndex], edge: Edge = "clamp"
    ) -> npt.NDArray[np.int32]:
        """`tokens`, of any shape, moved by `offset`, (dx, dy) or (dx,): see `map_moves.perturb`."""
        return perturb(tokens, geometry=self._geometry, offset=offset, edge=edge)

    def interpolate(
        self, start: IntegerTokens, end: IntegerTokens, *, num_steps: SupportsIndex
    ) -> npt.NDArray[np.int32]:
        """A path of `num_steps` grids from `start` to `end`: see `map_moves.interpolate`."""
        return interpolate(start, end, geometry=self._geometry, num_steps=num_steps)

    def _checked(self, tokens: IntegerTokens | None) -> npt.NDArray[np.int64]:
        codebook_size = len(self._coordinates)
        if tokens is None:
            return np.arange(codebook_size)
        return checked_tokens(tokens, codebook_size=codebook_size)
