"""Answers of the map to replies: each function runs in a worker thread and gives a complete response.

B images, K codebook_size, M neighbors; ... is the shape of the tokens that were sent.
"""

from typing import Any

import numpy.typing as npt
from starlette.responses import Response

from kohonen_tokenizer.pixels import Pixels

from ..errors import NotAcceptableError
from ..runtime.images import encode_png
from ..runtime.neighbor_table import NeighborTable
from ..runtime.soft_targets import DenseTargets, SparseTargets
from . import media
from .models import ServedModel
from .replies import TOKEN_REPLIES, json_response, negotiated, npy_response, safetensors_response

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


def table_response(table: NeighborTable, *, media_type: str, model: ServedModel) -> Response:
    """`table` as one of TABLE_REPLIES; as .npy its tokens alone, int32 [K, M]."""
    if media_type == media.NPY:
        return negotiated(npy_response(table.tokens), model=model)
    tensors = {
        "tokens": table.tokens,
        "grid_distance": table.grid_distance,
        "codebook_distance": table.codebook_distance,
    }
    return _tensors_response(tensors, media_type=media_type, model=model)


def targets_response(
    targets: DenseTargets | SparseTargets, *, media_type: str, model: ServedModel
) -> Response:
    """`targets`, dense float32 [..., K] or sparse, as the type that `negotiate_targets` chose."""
    if isinstance(targets, SparseTargets):
        tensors = {"tokens": targets.tokens, "weights": targets.weights}
        return _tensors_response(tensors, media_type=media_type, model=model)
    if media_type == media.NPY:
        return negotiated(npy_response(targets), model=model)
    return _tensors_response({"weights": targets}, media_type=media_type, model=model)


def strip_response(images: Pixels, *, model: ServedModel) -> Response:
    """`images` uint8 [B, H, W, 3] side by side in one PNG, H pixels high and B * W wide."""
    num_images, height, width, channels = images.shape
    strip = images.swapaxes(0, 1).reshape(height, num_images * width, channels)
    return negotiated(Response(encode_png(strip), media_type=media.PNG), model=model)


def _tensors_response(
    tensors: dict[str, npt.NDArray[Any]], *, media_type: str, model: ServedModel
) -> Response:
    if media_type == media.SAFETENSORS:
        return negotiated(safetensors_response(tensors, model=model), model=model)
    return negotiated(json_response({**tensors, **model.identity}), model=model)
