"""GET /codebook and GET /map.png: the vocabulary as numbers and as a picture."""

from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ...errors import NotAcceptableError
from .. import media
from ..openapi import WORK_ERRORS, reply_docs
from ..replies import CODEBOOK_REPLIES, codebook_response, is_unchanged, map_response, unchanged_response
from ..schemas import CodebookContent
from ..service import Admitted, ServiceDep

router = APIRouter(tags=["map"])


@router.get(
    "/codebook",
    summary="The codebook",
    response_class=Response,
    dependencies=[Admitted],
    responses=reply_docs(
        "The code vectors and their places on the map.",
        CodebookContent,
        binary={media.NPY: "the vectors alone, float32 [K, D]"},
        errors=(*WORK_ERRORS, NotAcceptableError),
    ),
)
async def get_codebook(request: Request, service: ServiceDep) -> Response:
    """Give every code vector and its coordinates, as JSON, or the vectors as .npy (by `Accept`)."""
    media_type = media.negotiate(media.accept_of(request.headers), offers=CODEBOOK_REPLIES)
    return await service.run(
        "codebook", "reply", partial(codebook_response, service.tokenizer, media_type=media_type)
    )


@router.get(
    "/map.png",
    summary="The map as a picture",
    response_class=Response,
    dependencies=[Admitted],
    responses=reply_docs(
        "Every code decoded as a constant grid, each at its place on the map.",
        None,
        binary={media.PNG: "rows * H pixels high, columns * W wide"},
        errors=WORK_ERRORS,
    )
    | {304: {"description": "The picture that `If-None-Match` names is still the right one."}},
)
async def get_map(request: Request, service: ServiceDep) -> Response:
    """Show the map: where the model is well ordered, neighbors look alike."""
    if is_unchanged(request.headers.get("if-none-match"), tokenizer=service.tokenizer):
        return unchanged_response(service.tokenizer)
    picture = await service.run("map", "infer", service.map_png.get)
    return map_response(picture, tokenizer=service.tokenizer)
