"""POST /encode: images to tokens."""

from functools import partial

from fastapi import APIRouter
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
    ParameterError,
    PixelsError,
)
from ...level_tokens import grids_by_field
from ...runtime.images import Resize
from ...runtime.jpeg import is_small_jpeg
from .. import media
from ..bodies import read_body
from ..image_bodies import MEDIA_TYPES, parse_images
from ..openapi import (
    BODY_ERRORS,
    MODEL_ERRORS,
    NEGOTIATED,
    binary_body,
    files_body,
    json_body,
    reply_docs,
    request_docs,
)
from ..parameters import ModelParameters, parameter_docs, read_url
from ..replies import TokenType, negotiate_tokens, tokens_response
from ..request_schemas import ManyImages, OneImage
from ..schemas import Encoded, EncodedLevels
from ..service import service_of

router = APIRouter(tags=["tokens"])


class EncodeParameters(ModelParameters):
    """The parameters of /encode."""

    resize: Resize = Field(
        default="crop",
        description="What happens to an image of another size than the model's: `crop` scales it until its "
        "short side fits and keeps the center, `squash` scales each side on its own, `strict` refuses it.",
    )
    dtype: TokenType = Field(
        default="int32",
        description="The type of the tokens in .npy and safetensors, little-endian. `uint16` takes half the "
        "bytes and needs a codebook of at most 65,536 codes. Numbers in JSON have no type.",
    )

    def check_codebook(self, codebook_size: int) -> None:
        """Return if tokens of a codebook of this size fit the type.

        Raises:
            ParameterError: they do not.
        """
        if self.dtype == "uint16" and codebook_size > 2**16:
            raise ParameterError(
                f"the model has {codebook_size} codes, and uint16 holds {2**16}; ask for dtype=int32"
            )


_REQUEST = request_docs(
    json_body(OneImage, ManyImages),
    *(binary_body(media_type, "one image") for media_type in media.IMAGES),
    binary_body(media.NPY, "uint8 [B, H, W, 3], RGB, as numpy.save writes it"),
    binary_body(media.SAFETENSORS, "one tensor, `images`: uint8 [B, H, W, 3], RGB"),
    files_body("Image files in the order wanted; the names of the fields do not matter."),
)
_REPLIES = reply_docs(
    "The tokens.",
    Encoded | EncodedLevels,
    binary={
        media.NPY: "int32 or uint16 [B, h, w], of a model with one level",
        media.SAFETENSORS: "`tokens`, or `tokens_LEVEL` for each of several levels, int32 or uint16 "
        "[B, h, w]; the model's identity in the metadata",
    },
    headers=NEGOTIATED,
    errors=(
        *MODEL_ERRORS,
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
    responses=_REPLIES,
    openapi_extra=_REQUEST
    | parameter_docs(EncodeParameters, headers=("X-Timeout-S", "X-Expect-Codebook-Hash")),
)
async def encode(request: Request) -> Response:
    """Encode one image or many to grids of tokens, as JSON, .npy or safetensors (by `Accept`).

    Of a model with several levels, JSON and safetensors have the grids of each as `tokens_LEVEL`.
    """
    service = service_of(request)
    deadline = service.deadline(request)
    parameters = read_url(request, model=EncodeParameters)
    accept = media.accept_of(request.headers)
    with (
        service.admission(deadline=deadline) as place,
        service.use_model(parameters.model, request=request) as model,
    ):
        levels = model.tokenizer.levels
        media_type = negotiate_tokens(len(levels), accept=accept)
        parameters.check_codebook(max(one.level.codebook_size for one in levels.values()))
        body = await read_body(
            request,
            media_types=MEDIA_TYPES,
            max_bytes=service.settings.max_body_bytes,
            service=service,
            place=place,
        )
        height, width, _ = model.tokenizer.image_shape
        parse = partial(
            parse_images,
            body,
            height=height,
            width=width,
            resize=parameters.resize,
            settings=service.settings,
        )
        tokens = await model.encode(
            service.timed("encode", "decode", parse),
            deadline=deadline,
            receive=request.receive,
            is_small=body.media_type in media.IMAGES and is_small_jpeg(body.content),
        )
        grids = grids_by_field(tokens, tokenizer=model.tokenizer)
        reply = partial(tokens_response, grids, media_type=media_type, model=model, dtype=parameters.dtype)
        return await service.run_small("encode", "encode", reply, num_values=tokens.size)
