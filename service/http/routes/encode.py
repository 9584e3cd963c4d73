"""POST /encode: images to tokens."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from ...errors import (
    ImageCountError,
    ImageDecodeError,
    ImageFormatError,
    ImagePixelsError,
    ImageSizeError,
    NotAcceptableError,
    ParameterError,
    PixelsError,
)
from ...runtime.images import Resize
from .. import media
from ..bodies import read_body
from ..image_bodies import MEDIA_TYPES, parse_images
from ..openapi import (
    BODY_ERRORS,
    WORK_ERRORS,
    binary_body,
    files_body,
    json_body,
    reply_docs,
    request_docs,
)
from ..replies import TOKEN_REPLIES, tokens_response
from ..schemas import Encoded, ManyImages, OneImage
from ..service import Admitted, ServiceDep, Unrepeated

router = APIRouter(tags=["tokens"])


class EncodeQuery(BaseModel):
    """The parameters of /encode."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
        ParameterError,
    ),
)


@router.post(
    "/encode",
    summary="Images to tokens",
    response_class=Response,
    dependencies=[Admitted, Unrepeated],
    responses=_REPLIES,
    openapi_extra=_REQUEST,
)
async def encode(request: Request, service: ServiceDep, query: Annotated[EncodeQuery, Query()]) -> Response:
    """Encode one image or many to grids of tokens, as JSON or as .npy (by `Accept`)."""
    media_type = media.negotiate(media.accept_of(request.headers), offers=TOKEN_REPLIES)
    body = await read_body(request, media_types=MEDIA_TYPES)
    tokenizer = service.tokenizer
    images = await service.run(
        "encode",
        "parse",
        partial(
            parse_images,
            body,
            height=tokenizer.manifest.image.height,
            width=tokenizer.manifest.image.width,
            resize=query.resize,
            settings=service.settings,
        ),
    )
    tokens = await service.run("encode", "infer", partial(tokenizer.encode, images))
    service.metrics.count_images("encode", num_images=len(tokens))
    return await service.run(
        "encode", "reply", partial(tokens_response, tokens, media_type=media_type, tokenizer=tokenizer)
    )
