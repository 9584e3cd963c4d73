"""Tokens as strangers and files hold them: JSON, .npy or safetensors.

B images, h w latent grid.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from .errors import MalformedBodyError, TokenRangeError, TokensError
from .json_integers import integers_from_json
from .json_object import keys_of, read_json_object
from .level_tokens import LevelTokens, TokenArray, as_grids
from .npy import read_npy
from .runtime.manifest import level_name
from .safetensors_bytes import read_tensors

TokenFormat = Literal["json", "npy", "safetensors"]

# What a model adds to its tokens in JSON.
IDENTITY_KEYS = ("model", "codebook_hash")

_JSON_EXAMPLE = '{"tokens": [h][w] or [B][h][w]}'


def read_token_grids(content: bytes, *, kind: TokenFormat) -> LevelTokens:
    """The token grids in `content`, one or many, each array [B, h, w], B of 0 or more.

    Args:
        content: a .npy of integers [h, w] or [B, h, w]; safetensors of such `tokens`, or of `tokens_LEVEL`
            for each of several levels; or JSON as /encode and the command encode give it.
        kind: which of these.

    Raises:
        InputError: the subclass that says what is wrong.
    """
    if kind != "json":
        return read_tokens(content, kind=kind).each(as_grids)
    fields = read_json_object(content, example=_JSON_EXAMPLE)
    tokens = pop_tokens(fields, text=content, example=_JSON_EXAMPLE)
    claims = pop_claims(fields)
    if fields:
        raise MalformedBodyError(f"{tokens.told}; give {_JSON_EXAMPLE}, nothing else")
    return replace(tokens.each(as_grids), claims=claims)


def read_tokens(content: bytes, *, kind: Literal["npy", "safetensors"]) -> LevelTokens:
    """The integers in a .npy or safetensors, of any shapes, and what the metadata claim of their model.

    Raises:
        InputError: the subclass that says what is wrong.
    """
    if kind == "npy":
        array = read_npy(content)
        if array.dtype.kind not in "iu":
            raise TokensError(f"the .npy holds {array.dtype}; give integers")
        return LevelTokens(tokens=array, told="a .npy holds one array, JSON and safetensors several")
    named = read_tensors(content)
    told = f"the safetensors hold the tensors {named.shown}"
    if not named.tensors or None in map(level_name, named.tensors):
        raise MalformedBodyError(f"{told}; give one, 'tokens', or one for each level, 'tokens_LEVEL'")
    claims = {key: named.metadata[key] for key in IDENTITY_KEYS if key in named.metadata}
    return LevelTokens(tokens=_by_level(named.tensors), told=told, claims=claims)


def pop_tokens(fields: dict[str, Any], *, text: bytes, example: str) -> LevelTokens:
    """Take the tokens out of the JSON object `fields`, of which `text` is the JSON.

    The tokens are lists of at most 3 dimensions: the key `tokens`, or `tokens_LEVEL` for each of several
    levels. `example` tells whoever gave none what belongs there.

    Raises:
        InputError: the subclass that says what is wrong.
    """
    told = f"the JSON object has {keys_of(fields)}"
    names = [name for name in fields if level_name(name) is not None]
    if not names:
        raise MalformedBodyError(f"{told} and no 'tokens'; give {example}, nothing else")
    arrays = {name: tokens_from_json(fields.pop(name), text=text, name=name) for name in names}
    return LevelTokens(tokens=_by_level(arrays), told=told)


def pop_grid(fields: dict[str, Any], *, name: str, text: bytes, example: str) -> LevelTokens:
    """Take the key `name` out of `fields`: lists of at most 3 dimensions, or an object as in `pop_tokens`.

    Raises:
        InputError: the subclass that says what is wrong.
    """
    if name not in fields:
        raise MalformedBodyError(f"the JSON object has {keys_of(fields)} and no {name!r}; give {example}")
    value = fields.pop(name)
    if not isinstance(value, dict):
        tokens = tokens_from_json(value, text=text, name=name)
        return LevelTokens(tokens=tokens, told=f"{name} is one grid")
    told = f"{name} has {keys_of(value)}"
    if not value or None in map(level_name, value):
        raise MalformedBodyError(f"{told}; give {example}")
    arrays = {key: tokens_from_json(one, text=text, name=f"{name}.{key}") for key, one in value.items()}
    return LevelTokens(tokens=_by_level(arrays), told=told)


def pop_claims(fields: dict[str, Any]) -> dict[str, object]:
    """Take what tokens claim of their model out of the JSON object beside them."""
    return {key: fields.pop(key) for key in IDENTITY_KEYS if key in fields}


def tokens_from_json(tokens: object, *, text: bytes, name: str = "tokens") -> TokenArray:
    """The integers in lists of at most 3 dimensions, the value of the key `name` in the JSON `text`.

    Raises:
        InputError: anything else.
    """
    try:
        return integers_from_json(tokens, text=text, name=name, max_dimensions=3, error=TokensError)
    except OverflowError:
        raise TokenRangeError(f"{name} hold an integer beyond 63 bits; give tokens of this model") from None


def _by_level(arrays: Mapping[str, TokenArray]) -> TokenArray | dict[str, TokenArray]:
    """`arrays`, of names that `level_name` knows: the only one, `tokens`, or by level."""
    if arrays.keys() == {"tokens"}:
        return arrays["tokens"]
    return {level: array for name, array in arrays.items() if (level := level_name(name)) is not None}
