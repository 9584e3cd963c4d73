"""POST /decode: tokens to images."""

from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ...errors import ImageCountError, NotAcceptableError, TokenRangeError, TokensError
from ...token_grids import read_token_grids
from .. import media
from ..bodies import BYTES_BESIDE_TOKENS, BYTES_PER_TOKEN, check_count, read_body
from ..openapi import BODY_ERRORS, NEGOTIATED, WORK_ERRORS, binary_body, json_body, reply_docs, request_docs
from ..parameters import NoParameters
from ..replies import images_response, negotiate_images
from ..schemas import Decoded, TokenGrids
from ..service import Admitted, ServiceDep

router = APIRouter(tags=["tokens"], dependencies=[NoParameters])

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
    dependencies=[Admitted],
    responses=_REPLIES,
    openapi_extra=_REQUEST,
)
async def decode(request: Request, service: ServiceDep) -> Response:
    """Decode one grid of tokens or many to images, as PNG, as JSON with base64, or as .npy (by `Accept`)."""
    accept = media.accept_of(request.headers)
    tokenizer, settings = service.tokenizer, service.settings
    latent_height, latent_width = tokenizer.level.latent_grid
    num_tokens = settings.max_images * latent_height * latent_width
    body = await read_body(
        request,
        media_types=(media.JSON, media.NPY),
        max_bytes=min(settings.max_body_bytes, num_tokens * BYTES_PER_TOKEN + BYTES_BESIDE_TOKENS),
        timeout_s=settings.body_timeout_s,
    )
    tokens = await service.run(
        "decode",
        "parse",
        partial(
            read_token_grids,
            body.content,
            kind="npy" if body.media_type == media.NPY else "json",
            identity=tokenizer.identity,
        ),
    )
    check_count(len(tokens), what="token grids", max_images=settings.max_images)
    # Asked before the work, though it depends on the body: one image may be a PNG, many may not.
    media_type = negotiate_images(len(tokens), accept=accept)
    images = await service.run("decode", "infer", partial(tokenizer.decode, tokens))
    service.metrics.count_images("decode", num_images=len(images))
    return await service.run(
        "decode", "reply", partial(images_response, images, media_type=media_type, tokenizer=tokenizer)
    )
