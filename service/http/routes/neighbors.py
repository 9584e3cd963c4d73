"""GET and POST /neighbors: what is near a token, on the map or in the codebook."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from ...errors import ParameterError, TokenizerError, TokenRangeError
from ...json_object import read_json_object
from ...runtime.levels import TokenLevel
from .. import media
from ..bodies import BYTES_BESIDE_TOKENS, BYTES_PER_TOKEN, read_body
from ..openapi import BODY_ERRORS, MODEL_ERRORS, Responses, json_body, reply_docs, request_docs
from ..parameters import (
    LevelParameters,
    ModelParameters,
    from_url,
    parameter_docs,
    together,
    url_values,
    validate,
)
from ..replies import json_response
from ..schemas import NeighborsOfToken, NeighborsOfTokens
from ..service import Admitted, Service, ServiceDep
from ..settings import Settings

router = APIRouter(tags=["map"])


class NearParameters(LevelParameters):
    """What is near a token."""

    radius: float | None = Field(
        default=None,
        description="Every token at a Euclidean distance on the map of at most this. Without `k` the "
        "default is 1.5: on a 2-D map the eight around.",
    )
    k: int | None = Field(
        default=None, le=2**31, description="Instead of `radius`: this many nearest tokens."
    )
    by: Literal["map", "codebook"] = Field(
        default="map", description="What is near: places on the map, or code vectors (needs `k`)."
    )


class NeighborsParameters(NearParameters):
    """The parameters of /neighbors, in the URL or in a JSON body."""

    repeatable: ClassVar = frozenset({"tokens"})

    token: int | None = Field(default=None, description="The token whose neighbors are asked for.")
    tokens: list[int] | None = Field(
        default=None, min_length=1, description="Instead of `token`: several, each answered by itself."
    )


def _replies(*errors: type[TokenizerError]) -> Responses:
    return reply_docs(
        "The neighbors: of one token, or a list for `tokens`.",
        NeighborsOfToken | NeighborsOfTokens,
        errors=(*MODEL_ERRORS, TokenRangeError, *errors),
    )


@router.get(
    "/neighbors",
    summary="Neighbors of a token",
    response_class=Response,
    dependencies=[Admitted],
    responses=_replies(),
    openapi_extra=parameter_docs(NeighborsParameters, headers=("X-Expect-Codebook-Hash",)),
)
async def get_neighbors(
    request: Request,
    service: ServiceDep,
    parameters: Annotated[NeighborsParameters, Depends(from_url(NeighborsParameters))],
) -> Response:
    """List the tokens within a radius of `token`, or its `k` nearest, with both distances."""
    return await _answer(parameters, request=request, service=service)


@router.post(
    "/neighbors",
    summary="Neighbors of a token, asked in JSON",
    response_class=Response,
    responses=_replies(*BODY_ERRORS),
    openapi_extra=request_docs(json_body(NeighborsParameters))
    | parameter_docs(ModelParameters, headers=("X-Expect-Codebook-Hash",)),
)
async def post_neighbors(request: Request, service: ServiceDep) -> Response:
    """The same with the parameters in the body; `model` may be in the URL."""
    settings = service.settings
    in_url = url_values(request, model=ModelParameters)
    num_bytes = settings.max_neighbor_tokens * BYTES_PER_TOKEN + BYTES_BESIDE_TOKENS
    with service.admission() as place:
        body = await read_body(
            request,
            media_types=(media.JSON,),
            max_bytes=min(settings.max_body_bytes, num_bytes),
            service=service,
            place=place,
        )
        parameters = await service.run("neighbors", "decode", partial(_parse, body.content, in_url))
        return await _answer(parameters, request=request, service=service)


def _parse(content: bytes, in_url: Mapping[str, Any]) -> NeighborsParameters:
    fields = read_json_object(content, example='{"token": 0, "radius": 1.5}')
    return validate(NeighborsParameters, together(in_url, fields))


async def _answer(parameters: NeighborsParameters, *, request: Request, service: Service) -> Response:
    with service.use_model(parameters.model, request=request) as model:
        level = model.tokenizer.levels.choose(parameters.level)
        find = partial(_find, parameters, level=level, settings=service.settings)
        neighborhoods = await service.run("neighbors", "infer", find)
        content = neighborhoods[0] if parameters.tokens is None else {"results": neighborhoods}
        reply = partial(json_response, content | model.identity_with(level))
        return await service.run("neighbors", "encode", reply)


def _find(parameters: NeighborsParameters, *, level: TokenLevel, settings: Settings) -> list[dict[str, Any]]:
    """What is near each token that is asked for, in their order, as the reply has it."""
    tokens = _tokens(parameters, max_tokens=settings.max_neighbor_tokens)
    neighborhoods: list[dict[str, Any]] = []
    num_neighbors = 0
    for token in tokens:
        neighbors = level.topology.neighbors(
            token, radius=parameters.radius, k=parameters.k, by=parameters.by
        )
        num_neighbors += len(neighbors)
        if num_neighbors > settings.max_neighbors:
            raise ParameterError(
                f"the tokens have {num_neighbors} neighbors or more, the limit is {settings.max_neighbors}; "
                "ask for fewer tokens, or a smaller radius or k"
            )
        coordinates = level.codebook.coordinates[token].tolist()
        neighborhoods.append({"token": token, "coordinates": coordinates, "neighbors": neighbors})
    return neighborhoods


def _tokens(parameters: NeighborsParameters, *, max_tokens: int) -> Sequence[int]:
    match parameters.token, parameters.tokens:
        case int(token), None:
            return [token]
        case None, list(tokens):
            if len(tokens) > max_tokens:
                raise ParameterError(
                    f"tokens has {len(tokens)} entries, the limit is {max_tokens}; ask for fewer"
                )
            return tokens
        case None, None:
            raise ParameterError("token is missing; give token, or tokens for several")
        case _:
            raise ParameterError("token and tokens were both given; give one of them")
