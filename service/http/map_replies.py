"""Answers of the map to replies: each function runs in a worker thread and gives a complete response.

B images, K codebook_size, M neighbors; ... is the shape of the tokens that were sent.
"""

from typing import Any

import numpy.typing as npt
from starlette.responses import Response

from kohonen_tokenizer.pixels import Pixels

from ..errors import NotAcceptableError
from ..level_tokens import LevelTokens
from ..runtime.images import encode_png
from ..runtime.levels import TokenLevel
from ..runtime.neighbor_table import NeighborTable
from ..runtime.soft_targets import DenseTargets, SparseTargets
from ..runtime.tokenizer import Tokenizer
from . import media
from .models import ServedModel
from .replies import (
    TOKEN_REPLIES,
    json_response,
    negotiate_tokens,
    negotiated,
    npy_response,
    safetensors_response,
)

TABLE_REPLIES = (media.JSON, media.NPY, media.SAFETENSORS)
DENSE_REPLIES = (media.JSON, media.NPY, media.SAFETENSORS)
SPARSE_REPLIES = (media.JSON, media.SAFETENSORS)
# Tokens are the answer; whoever asks for a picture sees them instead.
MOVE_REPLIES = (*TOKEN_REPLIES, media.PNG)


def negotiate_targets(*, is_sparse: bool, accept: str | None) -> str:
    """The media type of a reply of soft targets.

    Raises:
        NotAcceptableError: `accept` allows none that fits.
    """
    if not is_sparse:
        return media.negotiate(accept, offers=DENSE_REPLIES)
    try:
        return media.negotiate(accept, offers=SPARSE_REPLIES)
    except NotAcceptableError as error:
        raise NotAcceptableError(
            f"{error.message}; {media.NPY} holds one array, and sparse targets are tokens and weights"
        ) from None


def negotiate_moves(tokens: LevelTokens, *, tokenizer: Tokenizer, accept: str | None) -> str:
    """The media type of a reply of `tokens` that were moved over the map.

    Raises:
        NotAcceptableError: `accept` allows none that fits.
    """
    num_levels = len(tokenizer.levels)
    if tokens.is_named or num_levels == 1:
        return negotiate_tokens(num_levels, accept=accept, offers=MOVE_REPLIES)
    try:
        return media.negotiate(accept, offers=TOKEN_REPLIES)
    except NotAcceptableError as error:
        raise NotAcceptableError(
            f"{error.message}; for a picture send the tokens of {', '.join(tokenizer.levels)}"
        ) from None


def table_response(
    table: NeighborTable, *, media_type: str, model: ServedModel, level: TokenLevel
) -> Response:
    """`table` as one of TABLE_REPLIES; as .npy its tokens alone, int32 [K, M]."""
    if media_type == media.NPY:
        return negotiated(npy_response(table.tokens), model=model)
    tensors = {
        "tokens": table.tokens,
        "grid_distance": table.grid_distance,
        "codebook_distance": table.codebook_distance,
    }
    return _tensors_response(tensors, media_type=media_type, model=model, level=level)


def targets_response(
    targets: DenseTargets | SparseTargets, *, media_type: str, model: ServedModel, level: TokenLevel
) -> Response:
    """`targets`, dense float32 [..., K] or sparse, as the type that `negotiate_targets` chose."""
    if isinstance(targets, SparseTargets):
        tensors = {"tokens": targets.tokens, "weights": targets.weights}
        return _tensors_response(tensors, media_type=media_type, model=model, level=level)
    if media_type == media.NPY:
        return negotiated(npy_response(targets), model=model)
    return _tensors_response({"weights": targets}, media_type=media_type, model=model, level=level)


def strip_response(images: Pixels, *, model: ServedModel) -> Response:
    """`images` uint8 [B, H, W, 3] side by side in one PNG, H pixels high and B * W wide."""
    num_images, height, width, channels = images.shape
    strip = images.swapaxes(0, 1).reshape(height, num_images * width, channels)
    return negotiated(Response(encode_png(strip), media_type=media.PNG), model=model)


def _tensors_response(
    tensors: dict[str, npt.NDArray[Any]], *, media_type: str, model: ServedModel, level: TokenLevel
) -> Response:
    identity = model.identity_with(level)
    if media_type == media.SAFETENSORS:
        return negotiated(safetensors_response(tensors, identity=identity, model=model), model=model)
    return negotiated(json_response({**tensors, **identity}), model=model)
