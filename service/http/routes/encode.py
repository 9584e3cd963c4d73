"""POST /encode: images to tokens."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from ...errors import (
    ImageCountError,
    ImageDecodeError,
    ImageFormatError,
    ImagePixelsError,
    ImageSizeError,
    NotAcceptableError,
    PixelsError,
)
from ...runtime.images import Resize
from .. import media
from ..bodies import read_body
from ..image_bodies import MEDIA_TYPES, parse_images
from ..openapi import (
    BODY_ERRORS,
    NEGOTIATED,
    WORK_ERRORS,
    binary_body,
    files_body,
    json_body,
    reply_docs,
    request_docs,
)
from ..parameters import Parameters, from_url, parameter_docs
from ..replies import TOKEN_REPLIES, tokens_response
from ..schemas import Encoded, ManyImages, OneImage
from ..service import Admitted, ServiceDep

router = APIRouter(tags=["tokens"])


class EncodeParameters(Parameters):
    """The parameters of /encode."""

    resize: Resize = Field(
        default="crop",
        description="What happens to an image of another size than the model's: `crop` scales it until its "
        "short side fits and keeps the center, `squash` scales each side on its own, `strict` refuses it.",
    )


_REQUEST = request_docs(
    json_body(OneImage, ManyImages),
    *(binary_body(media_type, "one image") for media_type in media.IMAGES),
    binary_body(media.NPY, "uint8 [B, H, W, 3], RGB, as numpy.save writes it"),
    files_body("Image files in the order wanted; the names of the fields do not matter."),
)
_REPLIES = reply_docs(
    "The tokens.",
    Encoded,
    binary={media.NPY: "int32 [B, h, w]"},
    headers=NEGOTIATED,
    errors=(
        *WORK_ERRORS,
        *BODY_ERRORS,
        NotAcceptableError,
        ImageCountError,
        ImageDecodeError,
        ImageFormatError,
        ImagePixelsError,
        ImageSizeError,
        PixelsError,
    ),
)


@router.post(
    "/encode",
    summary="Images to tokens",
    response_class=Response,
    dependencies=[Admitted],
    responses=_REPLIES,
    openapi_extra=_REQUEST | parameter_docs(EncodeParameters),
)
async def encode(
    request: Request,
    service: ServiceDep,
    parameters: Annotated[EncodeParameters, Depends(from_url(EncodeParameters))],
) -> Response:
    """Encode one image or many to grids of tokens, as JSON or as .npy (by `Accept`)."""
    media_type = media.negotiate(media.accept_of(request.headers), offers=TOKEN_REPLIES)
    tokenizer, settings = service.tokenizer, service.settings
    body = await read_body(
        request,
        media_types=MEDIA_TYPES,
        max_bytes=settings.max_body_bytes,
        timeout_s=settings.body_timeout_s,
    )
    images = await service.run(
        "encode",
        "parse",
        partial(
            parse_images,
            body,
            height=tokenizer.manifest.image.height,
            width=tokenizer.manifest.image.width,
            resize=parameters.resize,
            settings=settings,
        ),
    )
    tokens = await service.run("encode", "infer", partial(tokenizer.encode, images))
    service.metrics.count_images("encode", num_images=len(tokens))
    return await service.run(
        "encode", "reply", partial(tokens_response, tokens, media_type=media_type, tokenizer=tokenizer)
    )
