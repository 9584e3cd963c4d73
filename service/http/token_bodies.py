"""Token grids in a request's body, for the decoder.

B images, h w latent grid.
"""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import MalformedBodyError, TokenRangeError, TokensError
from . import media
from .bodies import Body, check_count, keys_of, kind_of, read_json_object
from .npy import read_npy

MEDIA_TYPES = (media.JSON, media.NPY)

TokenArray = npt.NDArray[np.integer]

_JSON_EXAMPLE = '{"tokens": [h][w] or [B][h][w]}'


def parse_tokens(body: Body, *, identity: Mapping[str, str], max_images: int) -> TokenArray:
    """The token grids in `body`, one or many: integers [B, h, w], B of 1 to `max_images`.

    The size of a grid and the range of its tokens are the model's to check.

    Args:
        body: the body.
        identity: what the model adds to its tokens in JSON. A client may send it back, as a reply of /encode
            has it; then it must be this model's.
        max_images: the limit on B.

    Raises:
        InputError: the subclass that says what is wrong.
    """
    if body.media_type == media.NPY:
        tokens = _tokens_from_npy(body.content)
    else:
        tokens = _tokens_from_json(body.content, identity=identity)
    if tokens.ndim == 2:
        tokens = tokens[np.newaxis]
    if tokens.ndim != 3:
        raise TokensError(f"tokens have {tokens.ndim} dimensions; send one grid [h][w] or many [B][h][w]")
    check_count(len(tokens), what="token grids", max_images=max_images)
    return tokens


def _tokens_from_npy(content: bytes) -> TokenArray:
    tokens = read_npy(content)
    if tokens.dtype.kind not in "iu":
        raise TokensError(f"the .npy holds {tokens.dtype}; send integers")
    return tokens


def _tokens_from_json(content: bytes, *, identity: Mapping[str, str]) -> TokenArray:
    fields = read_json_object(content, example=_JSON_EXAMPLE)
    if "tokens" not in fields or not fields.keys() <= {"tokens", *identity}:
        raise MalformedBodyError(f"the JSON object has {keys_of(fields)}; send {_JSON_EXAMPLE}, nothing else")
    tokens = fields.pop("tokens")
    for key, value in fields.items():
        if value != identity[key]:
            raise TokensError(
                f"the tokens are of {key} {str(value)[:70]!r}, and this service decodes those of "
                f"{identity[key]!r}; decode them with their own model"
            )
    if not isinstance(tokens, list):
        raise TokensError(f"tokens is {kind_of(tokens)}; send {_JSON_EXAMPLE}")
    leaves = _leaves(tokens)
    try:
        return np.array(tokens, dtype=np.int64)
    except ValueError:
        raise TokensError("tokens are ragged; send rows of one length and grids of one height") from None
    except OverflowError:
        raise TokenRangeError(f"token {max(leaves)} is beyond 63 bits; send tokens of this model") from None


def _leaves(tokens: list[Any]) -> list[int]:
    """All numbers in the nested lists. NumPy alone is too kind: it takes true for 1 and 1.5 for 1."""
    leaves = tokens
    depth = 1
    while leaves and all(isinstance(leaf, list) for leaf in leaves):
        leaves = list(chain.from_iterable(leaves))
        depth += 1
        if depth > 3:
            raise TokensError("tokens have more than 3 dimensions; send one grid [h][w] or many [B][h][w]")
    for kind in set(map(type, leaves)) - {int}:
        raise TokensError(f"tokens hold {kind_of(kind())} where an integer belongs; send whole numbers only")
    return leaves
