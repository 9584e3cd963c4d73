"""Tokens of several levels moved over their maps: all levels, or one while the others stay.

S steps of a path; ... is the shape of a level's tokens.
"""

import operator
from collections.abc import Callable, Sequence
from typing import SupportsIndex

import numpy as np

from ..errors import ParameterError
from .backend import Tokens
from .levels import Levels
from .map_edges import Edge
from .map_layout import checked_tokens
from .topology import IntegerTokens


def perturb_levels(
    tokens: object,
    *,
    levels: Levels,
    offset: Sequence[SupportsIndex],
    edge: Edge = "clamp",
    level: str | None = None,
) -> dict[str, Tokens]:
    """`tokens` [...] of each of `levels`, moved by `offset` on the map of `level`, or on every map.

    Figures 8 and 9 of Irie et al. 2023 show the images of such tokens. See `map_moves.perturb`.

    Raises:
        TokensError, TokenRangeError: not the tokens of every level.
        ParameterError: no such level, or a wrong move for its map, which is named.
    """
    grids = _checked(tokens, levels=levels)
    return _on_each(
        levels,
        level=level,
        move=lambda name: levels[name].topology.perturb(grids[name], offset=offset, edge=edge),
        stay=lambda name: grids[name].astype(np.int32),
    )


def interpolate_levels(
    start: object,
    end: object,
    *,
    levels: Levels,
    num_steps: SupportsIndex,
    level: str | None = None,
) -> dict[str, Tokens]:
    """A path [S, ...] from `start` [...] to `end` on the map of `level`, or on every map.

    The levels that do not move stay as they are in `start`. See `map_moves.interpolate`.

    Raises:
        TokensError, TokenRangeError, ParameterError: as `perturb_levels` has it.
    """
    first, last = _checked(start, levels=levels), _checked(end, levels=levels)
    return _on_each(
        levels,
        level=level,
        move=lambda name: levels[name].topology.interpolate(first[name], last[name], num_steps=num_steps),
        stay=lambda name: np.repeat(
            first[name].astype(np.int32)[np.newaxis], operator.index(num_steps), axis=0
        ),
    )


def _checked(tokens: object, *, levels: Levels) -> dict[str, IntegerTokens]:
    return {
        name: checked_tokens(np.asarray(grid), codebook_size=levels[name].level.codebook_size)
        for name, grid in levels.all_of(tokens).items()
    }


def _on_each(
    levels: Levels,
    *,
    level: str | None,
    move: Callable[[str], Tokens],
    stay: Callable[[str], Tokens],
) -> dict[str, Tokens]:
    moved = {}
    # Before those that stay, for these moves are checked.
    for name in levels if level is None else [levels.choose(level).level.name]:
        try:
            moved[name] = move(name)
        except ParameterError as error:
            raise ParameterError(f"level {name}: {error.message}") from None
    return {name: moved[name] if name in moved else stay(name) for name in levels}
