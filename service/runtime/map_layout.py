"""How the tokens of a map are numbered, whatever its topology.

K codebook_size, D code_dim, G map dimensions (1 or 2). A codebook is `Vectors` [K, D] and, on a map,
`Coordinates` [K, G]. Token k lies at x = k % columns, y = k // columns: G(k) in section
2.1 of Irie et al. 2023. How far two places are apart is the business of a `MapGeometry`.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import TokenRangeError, TokensError

Coordinates = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float32]

MapTopology = Literal["rectangular", "toroidal", "hexagonal"]
"""Rectangular: squares, and the map ends at its edges. Toroidal: squares, and opposite edges are joined.
Hexagonal: hexagons in rows, the odd ones half a step to the right, and the map ends at its edges."""


def map_coordinates(map_shape: tuple[int, ...]) -> Coordinates:
    """Places int32 [K, G], (x, y) or (x,), of the tokens on a map of `map_shape`, (rows, columns) or (K,)."""
    places = np.indices(map_shape, dtype=np.int32).reshape(len(map_shape), -1)
    # np.indices counts rows first; coordinates put x, the column, first.
    return np.ascontiguousarray(places[::-1].T)


def map_sides(coordinates: Coordinates) -> tuple[int, ...]:
    """(columns, rows) or (columns,) of the map with these `coordinates` [K, G]."""
    # The last token lies in the far corner.
    return tuple((coordinates[-1] + 1).tolist())


def map_strides(sides: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """int64 [G]: what a step along each axis adds to a token, so that tokens = places @ strides."""
    return np.array([1, *sides[:-1]], dtype=np.int64)


def checked_tokens(tokens: npt.NDArray[np.integer], *, codebook_size: int) -> npt.NDArray[np.int64]:
    """`tokens`, of any integer dtype and any shape, as int64.

    Raises:
        TokensError: another dtype.
        TokenRangeError: a token outside 0 to K - 1.
    """
    if tokens.dtype.kind not in "iu":
        raise TokensError(f"tokens are {tokens.dtype}; give integers")
    # Before the cast to int64, which would wrap a large uint64 round.
    outside = (tokens < 0) | (tokens >= codebook_size)
    if outside.any():
        place = tuple(np.argwhere(outside)[0].tolist())
        raise TokenRangeError(
            f"token {tokens[place]} at {list(place)} is outside 0 to {codebook_size - 1}; "
            "use tokens of this model"
        )
    return tokens.astype(np.int64)
