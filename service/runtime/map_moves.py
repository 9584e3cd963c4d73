"""Tokens moved over the map: by an offset, or step by step from one grid to another.

K codebook_size, G map dimensions (1 or 2), S steps of a path.
"""

import operator
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError, TokensError
from .map_edges import Edge
from .map_geometry import MapGeometry
from .map_layout import checked_tokens


def perturb(
    tokens: npt.NDArray[np.integer],
    *,
    geometry: MapGeometry,
    offset: Sequence[SupportsIndex],
    edge: Edge = "clamp",
) -> npt.NDArray[np.int32]:
    """`tokens`, of any shape, moved over the map by `offset`: int32 of the same shape.

    Figure 5 of Irie et al. 2023 shows the images of such tokens, with one offset on both axes. The paper does
    not say what happens at the edge of the map; here `edge` does. A toroidal map has no edge: there a move
    goes on at the other side, whatever `edge` is. On a hexagonal map dy steps lead down and to the right, 60
    degrees off the row, so that an offset is the same distance from every token.

    Args:
        tokens: integers, each 0 to K - 1.
        geometry: the map.
        offset: (dx, dy) on a 2-D map, (dx,) on a 1-D map: whole steps of any size and sign.
        edge: "clamp" stops at the last node; "reflect" turns round there and goes on: see `map_edges.walk`.

    Raises:
        TokensError: no integers.
        TokenRangeError: no such token.
        ParameterError: another number of steps than the map has axes, or an unknown `edge`.
    """
    if edge not in ("clamp", "reflect"):
        raise ParameterError(f'edge is {edge!r}; it must be "clamp" or "reflect"')
    num_axes = len(geometry.sides)
    if len(offset) != num_axes:
        axes = "(dx, dy)" if num_axes == 2 else "(dx,)"
        raise ParameterError(
            f"offset has {len(offset)} steps and the map {num_axes} axes; give {axes}, whole numbers"
        )
    checked = checked_tokens(tokens, codebook_size=len(geometry.places))
    steps = tuple(operator.index(step) for step in offset)
    return geometry.shifted(checked, offset=steps, edge=edge).astype(np.int32)


def interpolate(
    start: npt.NDArray[np.integer],
    end: npt.NDArray[np.integer],
    *,
    geometry: MapGeometry,
    num_steps: SupportsIndex,
) -> npt.NDArray[np.int32]:
    """A path over the map from `start` to `end`, token by token: int32 [S, ...].

    Step i of 0 to S - 1 lies at G(start) + (G(end) - G(start)) i / (S - 1) on the map, rounded to the nearest
    node: on a map of squares each coordinate, and from the middle between two nodes to the greater one; on a
    map of hexagons to the nearest, and of two to the lower row or to the right. A toroidal map is crossed
    the shorter way round. This is computed in integers, without error: step 0 is `start`, the last one is
    `end`, and the way back is the same way.

    Section 5 of Irie et al. 2023 names interpolation in the discrete latent space as a hope, without an
    equation; this is the straight line.

    Args:
        start: integers of any shape, such as a latent grid [h, w], each 0 to K - 1.
        end: as many tokens, of the same shape.
        geometry: the map.
        num_steps: S, with both ends counted: 2 or more.

    Raises:
        TokensError: no integers, or two shapes.
        TokenRangeError: no such token.
        ParameterError: fewer than 2 steps.
    """
    count = operator.index(num_steps)
    if count < 2:
        raise ParameterError(f"{count} steps were asked for; give 2 or more, both ends counted")
    if start.shape != end.shape:
        raise TokensError(
            f"the path leads from tokens {list(start.shape)} to {list(end.shape)}; give two of one shape"
        )
    first, last = (checked_tokens(tokens, codebook_size=len(geometry.places)) for tokens in (start, end))
    return geometry.path(first, last, num_steps=count)
