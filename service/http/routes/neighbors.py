"""GET and POST /neighbors: what is near a token, on the map or in the codebook."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ...errors import ParameterError, TokenRangeError
from .. import media
from ..bodies import read_body
from ..neighborhoods import NeighborsQuery, find_neighborhoods, parse_query
from ..openapi import BODY_ERRORS, WORK_ERRORS, json_body, reply_docs, request_docs
from ..replies import neighborhoods_response
from ..schemas import NeighborsOfToken, NeighborsOfTokens
from ..service import Admitted, Service, ServiceDep, Unrepeated

router = APIRouter(tags=["map"])


def _docs(*errors: Any) -> dict[int | str, dict[str, Any]]:
    return reply_docs(
        "The neighbors: of one token, or a list for `tokens`.",
        NeighborsOfToken | NeighborsOfTokens,
        errors=(*WORK_ERRORS, ParameterError, TokenRangeError, *errors),
    )


@router.get(
    "/neighbors",
    summary="Neighbors of a token",
    response_class=Response,
    dependencies=[Admitted, Unrepeated],
    responses=_docs(),
)
async def get_neighbors(service: ServiceDep, query: Annotated[NeighborsQuery, Query()]) -> Response:
    """List the tokens within a radius of `token`, or its `k` nearest, with both distances."""
    return await _answer(query, service)


@router.post(
    "/neighbors",
    summary="Neighbors of a token, asked in JSON",
    response_class=Response,
    dependencies=[Admitted],
    responses=_docs(*BODY_ERRORS),
    openapi_extra=request_docs(json_body(NeighborsQuery)),
)
async def post_neighbors(request: Request, service: ServiceDep) -> Response:
    """The same with the parameters in the body."""
    body = await read_body(request, media_types=(media.JSON,))
    query = await service.run("neighbors", "parse", partial(parse_query, body))
    return await _answer(query, service)


async def _answer(query: NeighborsQuery, service: Service) -> Response:
    tokenizer = service.tokenizer
    neighborhoods = await service.run(
        "neighbors",
        "infer",
        partial(
            find_neighborhoods,
            query,
            tokenizer=tokenizer,
            max_tokens=service.settings.max_neighbor_tokens,
        ),
    )
    return await service.run(
        "neighbors",
        "reply",
        partial(
            neighborhoods_response,
            neighborhoods,
            single=query.token is not None,
            tokenizer=tokenizer,
        ),
    )
