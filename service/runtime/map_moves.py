"""Tokens moved over the map: by an offset, or step by step from one grid to another.

K codebook_size, G map dimensions (1 or 2), S steps of a path.
"""

import operator
from collections.abc import Sequence
from typing import Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError, TokensError
from .map_layout import Coordinates, checked_tokens, map_sides, map_strides

Edge = Literal["clamp", "reflect"]


def perturb(
    tokens: npt.NDArray[np.integer],
    *,
    coordinates: Coordinates,
    offset: Sequence[SupportsIndex],
    edge: Edge = "clamp",
) -> npt.NDArray[np.int32]:
    """`tokens`, of any shape, moved over the map by `offset`: int32 of the same shape.

    Figure 5 of Irie et al. 2023 shows the images of such tokens, with one offset on both axes. The paper does
    not say what happens at the edge of the map; here `edge` does.

    Args:
        tokens: integers, each 0 to K - 1.
        coordinates: int32 [K, G], the map.
        offset: (dx, dy) on a 2-D map, (dx,) on a 1-D map: whole steps of any size and sign.
        edge: "clamp" stops at the last node; "reflect" turns round there and goes on, without standing on the
            edge twice, as often as it takes: from 0, on a side of 4 nodes, the steps lead to 1, 2, 3, 2, 1,
            0, 1, ... (the rule of `numpy.pad(mode="reflect")`). On a side of one node nothing moves.

    Raises:
        TokensError: no integers.
        TokenRangeError: no such token.
        ParameterError: another number of steps than the map has axes, or an unknown `edge`.
    """
    if edge not in ("clamp", "reflect"):
        raise ParameterError(f'edge is {edge!r}; it must be "clamp" or "reflect"')
    sides = map_sides(coordinates)
    if len(offset) != len(sides):
        axes = "(dx, dy)" if len(sides) == 2 else "(dx,)"
        raise ParameterError(
            f"offset has {len(offset)} steps and the map {len(sides)} axes; give {axes}, whole numbers"
        )
    places = coordinates[checked_tokens(tokens, codebook_size=len(coordinates))].astype(np.int64)
    for axis, (side, step) in enumerate(zip(sides, offset, strict=True)):
        move = _clamp if edge == "clamp" else _reflect
        places[..., axis] = move(places[..., axis], step=operator.index(step), side=side)
    return (places @ map_strides(sides)).astype(np.int32)


def interpolate(
    start: npt.NDArray[np.integer],
    end: npt.NDArray[np.integer],
    *,
    coordinates: Coordinates,
    num_steps: SupportsIndex,
) -> npt.NDArray[np.int32]:
    """A path over the map from `start` to `end`, token by token: int32 [S, ...].

    Step i of 0 to S - 1 lies at G(start) + (G(end) - G(start)) i / (S - 1) on the map, with each coordinate
    rounded to the nearest node, and from the middle between two nodes to the greater one. This is computed in
    integers, without error: step 0 is `start`, the last one is `end`, and the way back is the same way.

    Section 5 of Irie et al. 2023 names interpolation in the discrete latent space as a hope, without an
    equation; this is the straight line.

    Args:
        start: integers of any shape, such as a latent grid [h, w], each 0 to K - 1.
        end: as many tokens, of the same shape.
        coordinates: int32 [K, G], the map.
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
    first, last = (
        coordinates[checked_tokens(tokens, codebook_size=len(coordinates))].astype(np.int64)
        for tokens in (start, end)
    )
    strides = map_strides(map_sides(coordinates))
    tokens = np.empty((count, *start.shape), dtype=np.int32)
    intervals = count - 1
    for step in range(count):
        # floor(x + 1/2) of the place x, over the common denominator 2 (S - 1).
        places = (2 * (first * (intervals - step) + last * step) + intervals) // (2 * intervals)
        tokens[step] = places @ strides
    return tokens


def _clamp(places: npt.NDArray[np.int64], *, step: int, side: int) -> npt.NDArray[np.int64]:
    # No move needs to be longer than the side; NumPy's integers would overflow with a very long one.
    return np.clip(places + min(max(step, -side), side), 0, side - 1)


def _reflect(places: npt.NDArray[np.int64], *, step: int, side: int) -> npt.NDArray[np.int64]:
    if side == 1:
        return places
    # There and back again: the walk repeats after twice the side's intervals.
    period = 2 * (side - 1)
    walked = (places + step % period) % period
    return np.minimum(walked, period - walked)
