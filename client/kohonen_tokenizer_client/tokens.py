"""Tokens that a caller gives: checked as far as the service need not be asked.

B images, h w latent grid; ... is any shape.
"""

from collections.abc import Mapping

import numpy as np

from .errors import InputError
from .grids import LevelGrids
from .records import Grids, IntegerGrids, IntegerTokens, Model, Tokens


def grids_to_decode(tokens: IntegerGrids, *, model: Model) -> LevelGrids:
    """`tokens` [B, h, w] of every level of `model`: an array of the only one, or by level.

    Raises:
        InputError: something else.
    """
    if not isinstance(tokens, Mapping) and len(model.levels) > 1:
        raise _not_by_level(f"of type {type(tokens).__name__}", model=model)
    return _grids(tokens, model=model, level=None, or_one=False)


def grids_to_move(tokens: IntegerGrids, *, model: Model, level: str | None) -> LevelGrids:
    """`tokens` [h, w] or [B, h, w], as [B, h, w]: an array of `level`, or by level those of every one.

    Raises:
        InputError: something else, or no such level.
    """
    return _grids(tokens, model=model, level=level, or_one=True)


def ends_of_path(
    start: IntegerGrids, end: IntegerGrids, *, model: Model, level: str | None
) -> tuple[LevelGrids, LevelGrids]:
    """`start` and `end` [h, w], as [1, h, w]: both an array of `level`, or both by level.

    Raises:
        InputError: something else, or no such level.
    """
    if isinstance(start, Mapping) != isinstance(end, Mapping):
        raise _not_by_level("by level at one end of the path and not at the other", model=model)
    for tokens in (start, end):
        for grid in tokens.values() if isinstance(tokens, Mapping) else [tokens]:
            check_integers(grid, num_dimensions=2)
    return (
        grids_to_move(start, model=model, level=level),
        grids_to_move(end, model=model, level=level),
    )


def as_given(by_level: Mapping[str, Tokens], *, tokens: IntegerGrids) -> Grids:
    """`by_level` in the form in which a caller gave `tokens`: by level or not, and of the same shapes."""
    if isinstance(tokens, Mapping):
        return {name: grids.reshape(tokens[name].shape) for name, grids in by_level.items()}
    (grids,) = by_level.values()
    return grids.reshape(tokens.shape)


def check_integers(tokens: IntegerTokens, *, num_dimensions: int | None = None) -> None:
    """Return if `tokens` is an array of integers, of `num_dimensions` if that is given.

    Raises:
        InputError: it is not.
    """
    if (
        not _is_array(tokens)
        or tokens.dtype.kind not in "iu"
        or tokens.ndim != (num_dimensions or tokens.ndim)
    ):
        shown = (
            f"{tokens.dtype} {list(tokens.shape)}"
            if _is_array(tokens)
            else f"of type {type(tokens).__name__}"
        )
        wanted = {2: "[h, w]", 3: "[B, h, w]", None: "[...]"}[num_dimensions]
        raise InputError(f"tokens are {shown}; give an array of integers {wanted}", code="invalid_tokens")


def _grids(tokens: IntegerGrids, *, model: Model, level: str | None, or_one: bool) -> LevelGrids:
    if not isinstance(tokens, Mapping):
        return LevelGrids({model.choose(level).name: _as_many(tokens, or_one=or_one)})
    if level is not None:
        model.choose(level)
    names = [one.name for one in model.levels]
    if set(tokens) != set(names):
        raise _not_by_level(f"those of {', '.join(map(str, tokens)) or 'no level'}", model=model)
    grids = LevelGrids({name: _as_many(tokens[name], or_one=or_one) for name in names})
    counts = {name: len(array) for name, array in grids.by_level.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(
            f"the levels have grids of different numbers of images ({told}); give as many",
            code="invalid_tokens",
        )
    return grids


def _not_by_level(shown: str, *, model: Model) -> InputError:
    names = ", ".join(level.name for level in model.levels)
    return InputError(f"tokens are {shown}; this model takes those of {names} by name", code="invalid_tokens")


def _as_many(tokens: IntegerTokens, *, or_one: bool) -> IntegerTokens:
    if or_one and _is_array(tokens) and tokens.ndim == 2:
        tokens = tokens[np.newaxis]
    check_integers(tokens, num_dimensions=3)
    return tokens


def _is_array(value: object) -> bool:
    # Of any object, for callers without a type checker.
    return isinstance(value, np.ndarray)
