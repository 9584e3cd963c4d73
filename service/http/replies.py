"""Arrays to replies: each function runs in a worker thread and gives a complete response.

B images, H W pixels, h w latent grid, K codebook_size, D code_dim.
"""

import base64
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

import numpy.typing as npt
from starlette.responses import Response

from kohonen_tokenizer.pixels import Pixels

from ..errors import NotAcceptableError
from ..npy import write_npy
from ..runtime.backend import Tokens
from ..runtime.images import encode_png
from ..runtime.levels import TokenLevel
from ..safetensors_bytes import write_safetensors
from . import media
from .json_pieces import write_json
from .models import ServedModel

TokenType = Literal["int32", "uint16"]

TOKEN_REPLIES = (media.JSON, media.NPY, media.SAFETENSORS)
CODEBOOK_REPLIES = (media.JSON, media.NPY)
# The first is what a client without wishes gets: one image is shown as it is, many need a list.
ONE_IMAGE_REPLIES = (media.PNG, media.JSON, media.NPY, media.SAFETENSORS)
MANY_IMAGES_REPLIES = (media.JSON, media.NPY, media.SAFETENSORS)

_HELD_HEADER = "X-Held-Tokens"


def json_response(content: Mapping[str, Any]) -> Response:
    """`content`, which may hold NumPy arrays and dataclasses, as JSON."""
    return Response(write_json(content), media_type=media.JSON)


def tokens_response(
    grids: Mapping[str, Tokens], *, media_type: str, model: ServedModel, dtype: TokenType = "int32"
) -> Response:
    """`grids` int32 [B, h, w], by what they are called, as the type that `negotiate_tokens` chose.

    As .npy and safetensors they are of `dtype`.
    """
    if media_type == media.JSON:
        return negotiated(json_response({**grids, **model.identity}), model=model)
    tensors = {name: tokens.astype(dtype, copy=False) for name, tokens in grids.items()}
    if media_type == media.SAFETENSORS:
        return negotiated(safetensors_response(tensors, identity=model.identity, model=model), model=model)
    (array,) = tensors.values()
    return negotiated(npy_response(array), model=model)


def negotiate_tokens(num_levels: int, *, accept: str | None, offers: tuple[str, ...] = TOKEN_REPLIES) -> str:
    """The media type of a reply of the tokens of `num_levels` levels.

    Raises:
        NotAcceptableError: `accept` allows none that fits.
    """
    if num_levels == 1:
        return media.negotiate(accept, offers=offers)
    try:
        return media.negotiate(accept, offers=tuple(offer for offer in offers if offer != media.NPY))
    except NotAcceptableError as error:
        raise NotAcceptableError(
            f"{error.message}; {media.NPY} holds one array, and this reply has {num_levels} levels of tokens"
        ) from None


def images_response(images: Pixels, *, media_type: str, model: ServedModel) -> Response:
    """`images` uint8 [B, H, W, 3] as the type that `negotiate_images` chose."""
    if media_type == media.NPY:
        return negotiated(npy_response(images), model=model)
    if media_type == media.SAFETENSORS:
        tensors = {"images": images}
        return negotiated(safetensors_response(tensors, identity=model.identity, model=model), model=model)
    files = [encode_png(image) for image in images]
    if media_type == media.PNG:
        return negotiated(Response(files[0], media_type=media.PNG), model=model)
    texts = [base64.b64encode(file).decode() for file in files]
    return negotiated(json_response({"images": texts, **model.identity}), model=model)


def negotiate_images(num_images: int, *, accept: str | None) -> str:
    """The media type of a reply of `num_images` images.

    Raises:
        NotAcceptableError: `accept` allows none that fits.
    """
    if num_images == 1:
        return media.negotiate(accept, offers=ONE_IMAGE_REPLIES)
    try:
        return media.negotiate(accept, offers=MANY_IMAGES_REPLIES)
    except NotAcceptableError as error:
        raise NotAcceptableError(
            f"{error.message}; {media.PNG} holds one image and this reply has {num_images}"
        ) from None


def codebook_response(model: ServedModel, *, level: TokenLevel, media_type: str) -> Response:
    """The code vectors [K, D] of `level` and their places on the map; as .npy the vectors alone."""
    record, codebook = level.level, level.codebook
    if media_type == media.NPY:
        return negotiated(npy_response(codebook.vectors), model=model)
    content = {
        "codebook_size": record.codebook_size,
        "code_dim": record.code_dim,
        "map_shape": record.map_shape,
        "map_topology": record.map_topology,
        "vectors": codebook.vectors,
        "coordinates": codebook.coordinates,
        **model.identity_with(level),
    }
    return negotiated(json_response(content), model=model)


async def map_response(
    model: ServedModel, *, level: TokenLevel, if_none_match: str | None, deadline: float
) -> Response:
    """The PNG of the map of `level`, or 304 for a client that has it already, by its If-None-Match header.

    Where there are other levels, a header tells the token that each has in every place of the picture.
    """
    # The codebook and the decoder make the picture, and nothing else does.
    name, levels = level.level.name, model.tokenizer.levels
    manifest = model.tokenizer.manifest
    decoder = manifest.files[manifest.graphs.onnx.decoder].sha256
    prefix = "" if len(levels) == 1 else f"{name}-"
    etag = f'"{prefix}{level.codebook.sha256[:16]}-{decoder[:16]}"'
    known = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    if etag in known or known == ["*"]:
        response = Response(status_code=HTTPStatus.NOT_MODIFIED)
    else:
        response = Response(await model.map_pictures.png(name, deadline=deadline), media_type=media.PNG)
        response.raw_headers += model.identity_headers
        if held := [f"{other}={one.middle}" for other, one in levels.items() if other != name]:
            response.headers[_HELD_HEADER] = ", ".join(held)
    response.headers.update({"ETag": etag, "Cache-Control": "no-cache"})
    return response


def npy_response(array: npt.NDArray[Any]) -> Response:
    """`array` as .npy."""
    return Response(write_npy(array), media_type=media.NPY)


def safetensors_response(
    tensors: Mapping[str, npt.NDArray[Any]], *, identity: Mapping[str, str], model: ServedModel
) -> Response:
    """`tensors` as safetensors, with the `identity` that the reply has of `model` in the metadata."""
    metadata = {**identity, "model_version": model.version}
    return Response(write_safetensors(tensors, metadata=metadata), media_type=media.SAFETENSORS)


def negotiated(response: Response, *, model: ServedModel) -> Response:
    """`response`, with the headers of a reply of `model` that depends on Accept."""
    response.raw_headers += [(b"vary", b"Accept"), *model.identity_headers]
    return response
