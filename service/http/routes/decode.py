"""POST /decode: tokens to images."""

from functools import partial
from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ...errors import ImageCountError, NotAcceptableError, TokenRangeError, TokensError
from ...runtime.backend import Tokens
from ...runtime.tokenizer import Tokenizer
from ...token_grids import TokenGrids as Grids
from ...token_grids import read_token_grids
from .. import media
from ..bodies import BYTES_BESIDE_TOKENS, BYTES_PER_TOKEN, check_count, read_body
from ..openapi import BODY_ERRORS, NEGOTIATED, WORK_ERRORS, binary_body, json_body, reply_docs, request_docs
from ..parameters import ModelParameters, parameter_docs, read_url
from ..replies import images_response, negotiate_images
from ..schemas import Decoded, TokenGrids
from ..service import service_of

router = APIRouter(tags=["tokens"])

_REQUEST = request_docs(
    json_body(TokenGrids), binary_body(media.NPY, "integers [h, w] or [B, h, w], as numpy.save writes them")
)
_REPLIES = reply_docs(
    "The images: without an `Accept` a PNG for one grid, and JSON for more.",
    Decoded,
    binary={media.PNG: "the image, of one grid only", media.NPY: "uint8 [B, H, W, 3], RGB"},
    headers=NEGOTIATED,
    errors=(
        *WORK_ERRORS,
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
    openapi_extra=_REQUEST | parameter_docs(ModelParameters),
)
async def decode(request: Request) -> Response:
    """Decode one grid of tokens or many to images, as PNG, as JSON with base64, or as .npy (by `Accept`)."""
    service = service_of(request)
    settings = service.settings
    deadline = service.deadline(request)
    parameters = read_url(request, model=ModelParameters)
    accept = media.accept_of(request.headers)
    with service.admission() as place:
        num_tokens = settings.max_images * service.models.max_tokens_per_image(parameters.model)
        body = await read_body(
            request,
            media_types=(media.JSON, media.NPY),
            max_bytes=min(settings.max_body_bytes, num_tokens * BYTES_PER_TOKEN + BYTES_BESIDE_TOKENS),
            service=service,
            place=place,
        )
        kind: Literal["json", "npy"] = "npy" if body.media_type == media.NPY else "json"
        grids = await service.run("decode", "decode", partial(read_token_grids, body.content, kind=kind))
        check_count(len(grids.tokens), what="token grids", max_images=settings.max_images)
        # Asked before the work, though it depends on the body: one image may be a PNG, many may not.
        media_type = negotiate_images(len(grids.tokens), accept=accept)
        with service.models.use(parameters.model or grids.model) as model:
            images = await model.decode(
                partial(_check, grids, tokenizer=model.tokenizer), deadline=deadline, receive=request.receive
            )
            reply = partial(images_response, images, media_type=media_type, model=model)
            return await service.run("decode", "encode", reply)


def _check(grids: Grids, *, tokenizer: Tokenizer) -> Tokens:
    """The tokens, if they are this model's."""
    grids.check_claims(tokenizer.identity)
    return tokenizer.check_tokens(grids.tokens)
