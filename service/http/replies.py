"""Arrays to replies: each function runs in a worker thread and gives a complete response.

B images, H W pixels, h w latent grid, K codebook_size, D code_dim.
"""

import base64
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

from kohonen_tokenizer.pixels import Pixels

from ..errors import NotAcceptableError
from ..npy import write_npy
from ..runtime.backend import Tokens
from ..runtime.images import encode_png
from ..runtime.tokenizer import Tokenizer
from . import media
from .neighborhoods import Neighborhood

TOKEN_REPLIES = (media.JSON, media.NPY)
CODEBOOK_REPLIES = (media.JSON, media.NPY)
# The first is what a client without wishes gets: one image is shown as it is, many need a list.
ONE_IMAGE_REPLIES = (media.PNG, media.JSON, media.NPY)
MANY_IMAGES_REPLIES = (media.JSON, media.NPY)


def json_response(content: Mapping[str, Any]) -> Response:
    """`content`, which may hold NumPy arrays and dataclasses, as JSON."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type=media.JSON)


def tokens_response(tokens: Tokens, *, media_type: str, tokenizer: Tokenizer) -> Response:
    """`tokens` int32 [B, h, w] as one of TOKEN_REPLIES."""
    if media_type == media.NPY:
        return _binary_response(write_npy(tokens), media_type=media.NPY, tokenizer=tokenizer)
    return json_response({"tokens": tokens, **tokenizer.identity})


def images_response(images: Pixels, *, media_type: str, tokenizer: Tokenizer) -> Response:
    """`images` uint8 [B, H, W, 3] as the type that `negotiate_images` chose."""
    if media_type == media.NPY:
        return _binary_response(write_npy(images), media_type=media.NPY, tokenizer=tokenizer)
    files = [encode_png(image) for image in images]
    if media_type == media.PNG:
        return _binary_response(files[0], media_type=media.PNG, tokenizer=tokenizer)
    return json_response(
        {"images": [base64.b64encode(file).decode() for file in files], **tokenizer.identity}
    )


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


def codebook_response(tokenizer: Tokenizer, *, media_type: str) -> Response:
    """The code vectors [K, D] and their places on the map; as .npy the vectors alone."""
    level, codebook = tokenizer.level, tokenizer.codebook
    if media_type == media.NPY:
        return _binary_response(write_npy(codebook.vectors), media_type=media.NPY, tokenizer=tokenizer)
    return json_response(
        {
            "codebook_size": level.codebook_size,
            "code_dim": level.code_dim,
            "map_shape": level.map_shape,
            "vectors": codebook.vectors,
            "coordinates": codebook.coordinates,
            **tokenizer.identity,
        }
    )


def map_response(picture: bytes, *, tokenizer: Tokenizer) -> Response:
    """The PNG of the map, which a client may keep as long as its ETag holds."""
    response = _binary_response(picture, media_type=media.PNG, tokenizer=tokenizer)
    response.headers.update(_map_validators(tokenizer))
    return response


def unchanged_response(tokenizer: Tokenizer) -> Response:
    """The reply to a client that has the map's picture already."""
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_map_validators(tokenizer))


def is_unchanged(if_none_match: str | None, *, tokenizer: Tokenizer) -> bool:
    """Whether the picture that the client has, by its If-None-Match header, is the one of this model."""
    known = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return _map_validators(tokenizer)["ETag"] in known or known == ["*"]


def neighborhoods_response(
    neighborhoods: Sequence[Neighborhood], *, single: bool, tokenizer: Tokenizer
) -> Response:
    """The neighbors of one token, or a list of them in the order asked."""
    if not single:
        return json_response({"results": neighborhoods, **tokenizer.identity})
    (only,) = neighborhoods
    return json_response(
        {
            "token": only.token,
            "coordinates": only.coordinates,
            "neighbors": only.neighbors,
            **tokenizer.identity,
        }
    )


def _binary_response(body: bytes, *, media_type: str, tokenizer: Tokenizer) -> Response:
    # The body has no room to say which model it is from.
    identity = tokenizer.identity
    headers = {"X-Model": identity["model"], "X-Codebook-Hash": identity["codebook_hash"]}
    return Response(body, media_type=media_type, headers=headers)


def _map_validators(tokenizer: Tokenizer) -> dict[str, str]:
    # The codebook and the decoder make the picture, and nothing else does.
    manifest = tokenizer.manifest
    decoder = manifest.files[manifest.graphs.onnx.decoder].sha256
    return {"ETag": f'"{tokenizer.codebook.sha256[:16]}-{decoder[:16]}"', "Cache-Control": "no-cache"}
