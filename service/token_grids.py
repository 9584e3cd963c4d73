"""Token grids as strangers and files hold them, JSON, .npy or safetensors, for the decoder.

B images, h w latent grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .errors import MalformedBodyError, TokenRangeError, TokensError
from .json_integers import integers_from_json
from .json_object import keys_of, read_json_object
from .npy import read_npy
from .runtime.manifest import tensor_name
from .safetensors_bytes import read_safetensors

TokenArray = npt.NDArray[np.integer]

# What a model adds to its tokens in JSON.
IDENTITY_KEYS = ("model", "codebook_hash")

_JSON_EXAMPLE = '{"tokens": [h][w] or [B][h][w]}'


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """What tokens say of the model that made them."""

    claims: Mapping[str, object]
    """Of IDENTITY_KEYS those that were given."""

    @property
    def model(self) -> str | None:
        """The name of the model that made them, if they say so."""
        name = self.claims.get("model")
        return name if isinstance(name, str) else None

    def check_claims(self, identity: Mapping[str, str]) -> None:
        """Return if nothing in the claims contradicts the `identity` of a model.

        Raises:
            TokensError: they are of another model.
        """
        for key, value in self.claims.items():
            if value != identity[key]:
                raise TokensError(
                    f"the tokens are of {key} {str(value)[:70]!r}, and this model's is {identity[key]!r}; "
                    "decode them with their own model"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenGrids(Claims):
    """Token grids, and what they say of the model that made them."""

    tokens: TokenArray
    """Integers [B, h, w], B of 0 or more. The size of a grid and the range are the model's to check."""


def read_token_grids(content: bytes, *, kind: Literal["json", "npy", "safetensors"]) -> TokenGrids:
    """The token grids in `content`, one or many.

    Args:
        content: a .npy of integers [h, w] or [B, h, w], safetensors of such `tokens`, or JSON as /encode and
            the command encode give it.
        kind: which of these.

    Raises:
        InputError: the subclass that says what is wrong.
    """
    if kind == "npy":
        return TokenGrids(tokens=as_grids(tokens_from_npy(content)), claims={})
    if kind == "safetensors":
        tokens, claims = tokens_from_safetensors(content)
        return TokenGrids(tokens=as_grids(tokens), claims=claims)
    fields = read_json_object(content, example=_JSON_EXAMPLE)
    if "tokens" not in fields or not fields.keys() <= {"tokens", *IDENTITY_KEYS}:
        raise MalformedBodyError(f"the JSON object has {keys_of(fields)}; give {_JSON_EXAMPLE}, nothing else")
    tokens = tokens_from_json(fields.pop("tokens"), text=content)
    return TokenGrids(tokens=as_grids(tokens), claims=fields)


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelGrids(Claims):
    """Token grids of several levels, and what they say of the model that made them."""

    tokens: Mapping[str, TokenArray]
    """By level, integers [B, h, w]. Their numbers, sizes and range are the model's to check."""


def read_level_grids(content: bytes, *, levels: Sequence[str]) -> LevelGrids:
    """The token grids of `levels` in JSON as the command encode gives it for a model that has these.

    Raises:
        InputError: the subclass that says what is wrong.
    """
    names = {tensor_name(level): level for level in levels}
    example = "{" + ", ".join(f'"{name}": [B][h][w]' for name in names) + "}"
    fields = read_json_object(content, example=example)
    if not names.keys() <= fields.keys() <= {*names, *IDENTITY_KEYS}:
        raise MalformedBodyError(f"the JSON object has {keys_of(fields)}; give {example}, nothing else")
    tokens = {
        level: as_grids(tokens_from_json(fields.pop(name), text=content, name=name))
        for name, level in names.items()
    }
    return LevelGrids(tokens=tokens, claims=fields)


def as_grids(tokens: TokenArray) -> TokenArray:
    """`tokens`, one grid [h, w] or many [B, h, w], as many.

    Raises:
        TokensError: of another number of dimensions.
    """
    if tokens.ndim == 2:
        tokens = tokens[np.newaxis]
    if tokens.ndim != 3:
        raise TokensError(f"tokens have {tokens.ndim} dimensions; give one grid [h][w] or many [B][h][w]")
    return tokens


def one_grid(tokens: TokenArray) -> TokenArray:
    """`tokens`, one grid [h, w] or [1, h, w], as [1, h, w].

    Raises:
        TokensError: of another number of dimensions, or not one grid.
    """
    grids = as_grids(tokens)
    if len(grids) != 1:
        raise TokensError(f"{len(grids)} grids are where one belongs; give [h][w]")
    return grids


def tokens_from_npy(content: bytes) -> TokenArray:
    """The integers in a .npy, of any shape.

    Raises:
        InputError: no .npy, or not of integers.
    """
    tokens = read_npy(content)
    if tokens.dtype.kind not in "iu":
        raise TokensError(f"the .npy holds {tokens.dtype}; give integers")
    return tokens


def tokens_from_safetensors(content: bytes) -> tuple[TokenArray, Mapping[str, object]]:
    """The integers of the one tensor `tokens` in safetensors, of any shape, and the claims in the metadata.

    Raises:
        InputError: no safetensors, or of other tensors.
    """
    named = read_safetensors(content, name="tokens")
    return named.tensor, {key: named.metadata[key] for key in IDENTITY_KEYS if key in named.metadata}


def tokens_from_json(tokens: object, *, text: bytes, name: str = "tokens") -> TokenArray:
    """The integers in lists of at most 3 dimensions, the value of the key `name` in the JSON `text`.

    Raises:
        InputError: anything else.
    """
    try:
        return integers_from_json(tokens, text=text, name=name, max_dimensions=3, error=TokensError)
    except OverflowError:
        raise TokenRangeError(f"{name} hold an integer beyond 63 bits; give tokens of this model") from None
