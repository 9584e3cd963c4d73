"""POST /decode: tokens to images."""

from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ...errors import ImageCountError, NotAcceptableError, TokenRangeError, TokensError
from ...level_tokens import LevelTokens
from ...runtime.backend import Tokens
from ...token_grids import read_token_grids
from .. import media
from ..bodies import BYTES_BESIDE_TOKENS, BYTES_PER_TOKEN, check_count, read_body
from ..models import ServedModel
from ..openapi import BODY_ERRORS, MODEL_ERRORS, NEGOTIATED, binary_body, json_body, reply_docs, request_docs
from ..parameters import ModelParameters, parameter_docs, read_url
from ..replies import images_response, negotiate_images
from ..request_schemas import LevelGrids, TokenGrids
from ..schemas import Decoded
from ..service import service_of

router = APIRouter(tags=["tokens"])

_REQUEST = request_docs(
    json_body(TokenGrids, LevelGrids),
    binary_body(media.NPY, "integers [h, w] or [B, h, w] of the only level, as numpy.save writes them"),
    binary_body(
        media.SAFETENSORS,
        "one tensor, `tokens`, or for each of several levels `tokens_LEVEL`: integers [h, w] or [B, h, w]; "
        "`model` and `codebook_hash` in the metadata, if there, must be those of the model",
    ),
)
_REPLIES = reply_docs(
    "The images: without an `Accept` a PNG for one grid, and JSON for more.",
    Decoded,
    binary={
        media.PNG: "the image, of one grid only",
        media.NPY: "uint8 [B, H, W, 3], RGB",
        media.SAFETENSORS: "`images`, uint8 [B, H, W, 3], RGB; the model's identity in the metadata",
    },
    headers=NEGOTIATED,
    errors=(
        *MODEL_ERRORS,
        *BODY_ERRORS,
        NotAcceptableError,
        ImageCountError,
        TokensError,
        TokenRangeError,
    ),
)


@router.post(
    "/decode",
    summary="Tokens to images",
    response_class=Response,
    responses=_REPLIES,
    openapi_extra=_REQUEST
    | parameter_docs(ModelParameters, headers=("X-Timeout-S", "X-Expect-Codebook-Hash")),
)
async def decode(request: Request) -> Response:
    """Decode grids of tokens to images: a PNG, JSON with base64, .npy or safetensors (by `Accept`)."""
    service = service_of(request)
    settings = service.settings
    deadline = service.deadline(request)
    parameters = read_url(request, model=ModelParameters)
    accept = media.accept_of(request.headers)
    with service.admission(deadline=deadline) as place:
        num_tokens = settings.max_images * service.models.max_tokens_per_image(parameters.model)
        body = await read_body(
            request,
            media_types=tuple(media.TOKEN_FORMATS),
            max_bytes=min(settings.max_body_bytes, num_tokens * BYTES_PER_TOKEN + BYTES_BESIDE_TOKENS),
            service=service,
            place=place,
        )
        parse = partial(read_token_grids, body.content, kind=media.TOKEN_FORMATS[body.media_type])
        grids = await service.run("decode", "decode", parse)
        num_images = max(map(len, grids.arrays))
        check_count(num_images, what="token grids", max_images=settings.max_images)
        # Asked before the work, though it depends on the body: one image may be a PNG, many may not.
        media_type = negotiate_images(num_images, accept=accept)
        with service.use_model(parameters.model or grids.model, request=request) as model:
            check = partial(_check, grids, model=model)
            images = await model.decode(check, deadline=deadline, receive=request.receive)
            reply = partial(images_response, images, media_type=media_type, model=model)
            return await service.run("decode", "encode", reply)


def _check(grids: LevelTokens, *, model: ServedModel) -> Tokens:
    """The tokens, if they are this model's."""
    grids.check_claims(model.identity)
    return grids.rows(model.tokenizer)
