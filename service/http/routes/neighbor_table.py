"""GET /neighbors/table: what is near every token."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ...errors import NotAcceptableError, ParameterError
from ...runtime.levels import TokenLevel
from ...runtime.neighbor_table import NeighborTable
from .. import media
from ..map_replies import TABLE_REPLIES, table_response
from ..openapi import MODEL_ERRORS, NEGOTIATED, reply_docs
from ..parameters import from_url, parameter_docs
from ..schemas import NeighborTableContent
from ..service import Admitted, ServiceDep
from ..settings import Settings
from ..table_limits import check_values
from .neighbors import NearParameters

router = APIRouter(tags=["map"])


@router.get(
    "/neighbors/table",
    summary="Neighbors of every token",
    response_class=Response,
    dependencies=[Admitted],
    responses=reply_docs(
        "The neighbors of all K tokens, M a row, nearest first; a row with fewer ends in padding.",
        NeighborTableContent,
        binary={
            media.NPY: "the tokens alone, int32 [K, M], padded with -1",
            media.SAFETENSORS: "tokens int32 [K, M], padded with -1; grid_distance and codebook_distance "
            "float32 [K, M], padded with infinity",
        },
        headers=NEGOTIATED,
        errors=(*MODEL_ERRORS, NotAcceptableError),
    ),
    openapi_extra=parameter_docs(NearParameters, headers=("X-Expect-Codebook-Hash",)),
)
async def get_neighbor_table(
    request: Request,
    service: ServiceDep,
    parameters: Annotated[NearParameters, Depends(from_url(NearParameters))],
) -> Response:
    """Give the tokens near each token in one table, as JSON, .npy or safetensors (by `Accept`)."""
    media_type = media.negotiate(media.accept_of(request.headers), offers=TABLE_REPLIES)
    with service.use_model(parameters.model, request=request) as model:
        level = model.tokenizer.levels.choose(parameters.level)
        find = partial(_find, parameters, level=level, settings=service.settings)
        table = await service.run("neighbor-table", "infer", find)
        reply = partial(table_response, table, media_type=media_type, model=model, level=level)
        return await service.run("neighbor-table", "encode", reply)


def _find(parameters: NearParameters, *, level: TokenLevel, settings: Settings) -> NeighborTable:
    codebook_size = level.level.codebook_size
    num_pairs = codebook_size**2
    if parameters.by == "codebook" and num_pairs > settings.max_table_pairs:
        raise ParameterError(
            f'by="codebook" compares {num_pairs} pairs of codes, the limit is {settings.max_table_pairs}; '
            'ask by="map", or /neighbors for some of the tokens'
        )
    search = level.topology.search(radius=parameters.radius, k=parameters.k, by=parameters.by)
    check_values(codebook_size, row_size=search.width, fix="a smaller radius or k", settings=settings)
    return search.find_all()
