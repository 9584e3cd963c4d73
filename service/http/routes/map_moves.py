"""POST /perturb and /interpolate: tokens moved over the map, as tokens or as a strip of images.

A picture is asked for by `Accept: image/png`, as in /decode: the strip is the answer to look at. Whoever
wants both, or each image by itself, sends the tokens on to /decode.
"""

from collections.abc import Callable
from functools import partial
from typing import ClassVar, TypeVar

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from ...errors import ImageCountError, NotAcceptableError, ParameterError, TokenRangeError, TokensError
from ...level_tokens import as_grids, by_field, one_grid
from ...runtime.backend import Tokens
from ...runtime.map_edges import Edge
from .. import media
from ..bodies import check_count
from ..map_bodies import MapBody, MapCall
from ..map_replies import negotiate_moves, strip_response
from ..models import ServedModel
from ..openapi import (
    BODY_ERRORS,
    MODEL_ERRORS,
    NEGOTIATED,
    Responses,
    binary_body,
    json_body,
    reply_docs,
    request_docs,
)
from ..parameters import LevelParameters, parameter_docs
from ..replies import tokens_response
from ..request_schemas import InterpolateRequest, LevelInterpolateRequest, LevelPerturbRequest, PerturbRequest
from ..schemas import Encoded, EncodedLevels
from ..service import Service, ServiceDep
from ..settings import Settings

router = APIRouter(tags=["map"])

P = TypeVar("P", bound=LevelParameters)
Moved = Tokens | dict[str, Tokens]
"""Of one level, or by level."""

_LEVEL = Field(
    default=None,
    description="The level that moves, by its name in /models; the others stay. Without it each level moves "
    "on its own map. Tokens that name no level are of this one.",
)


class PerturbParameters(LevelParameters):
    """The parameters of /perturb, in the URL or in a JSON body."""

    repeatable: ClassVar = frozenset({"offset"})

    level: str | None = _LEVEL
    offset: list[int] = Field(
        description="How far each token moves over the map: [dx, dy], or [dx] on a 1-D map; in the URL the "
        "parameter is given once for each. On a hexagonal map dy leads down and to the right. Here or in a "
        "JSON body."
    )
    edge: Edge = Field(
        default="clamp",
        description="At the edge of the map a token stays (`clamp`), or turns round and goes on (`reflect`: "
        "on a side of 3 the way from 0 is 1, 2, 1, 0, 1). A toroidal map has no edge: a move goes round it.",
    )


class InterpolateParameters(LevelParameters):
    """The parameters of /interpolate, in the URL or in a JSON body."""

    level: str | None = _LEVEL
    steps: int = Field(
        default=8,
        ge=2,
        description="How many grids there are on the way, both ends counted; as many as a request may have "
        "images. Here or in the body.",
    )


_PERTURB = MapBody(
    operation="perturb",
    parameters=PerturbParameters,
    example='{"tokens": [h][w] or [B][h][w], "offset": [1, 1], "edge": "clamp"}',
)
_INTERPOLATE = MapBody(
    operation="interpolate",
    names=("from", "to"),
    parameters=InterpolateParameters,
    example='{"from": [h][w], "to": [h][w], "steps": 8}',
)


def _replies(description: str, *, shape: str) -> Responses:
    return reply_docs(
        description,
        Encoded | EncodedLevels,
        binary={
            media.NPY: f"int32 {shape}, of one level",
            media.SAFETENSORS: f"`tokens`, or `tokens_LEVEL` of each level, int32 {shape}; the model's "
            "identity in the metadata",
            media.PNG: "the images of the tokens, side by side in one picture",
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
    "/perturb",
    summary="Tokens moved by an offset on the map",
    response_class=Response,
    responses=_replies("The moved tokens.", shape="[B, h, w]"),
    openapi_extra=request_docs(
        json_body(PerturbRequest, LevelPerturbRequest),
        binary_body(media.NPY, "integers [h, w] or [B, h, w]; the parameters are in the URL"),
        binary_body(
            media.SAFETENSORS,
            "one tensor of such integers, `tokens`, or `tokens_LEVEL` of each level; the parameters are in "
            "the URL",
        ),
    )
    | parameter_docs(PerturbParameters, headers=("X-Timeout-S", "X-Expect-Codebook-Hash")),
)
async def perturb(request: Request, service: ServiceDep) -> Response:
    """Move each token by `offset` on the map (Figure 5 of the paper): tokens, or a picture (by `Accept`).

    Of several levels it is every level on its own map, or `level` alone (Figures 8 and 9).
    """
    return await _answer(request, service, kind=_PERTURB, move=_perturb)


@router.post(
    "/interpolate",
    summary="A path over the map between two grids of tokens",
    response_class=Response,
    responses=_replies("The grids on the way, the two ends included.", shape="[steps, h, w]"),
    openapi_extra=request_docs(json_body(InterpolateRequest, LevelInterpolateRequest))
    | parameter_docs(InterpolateParameters, headers=("X-Timeout-S", "X-Expect-Codebook-Hash")),
)
async def interpolate(request: Request, service: ServiceDep) -> Response:
    """Lead each token in a straight line over the map to another: tokens, or a picture (by `Accept`)."""
    return await _answer(request, service, kind=_INTERPOLATE, move=_interpolate)


async def _answer(
    request: Request,
    service: Service,
    *,
    kind: MapBody[P],
    move: Callable[[MapCall[P], ServedModel, Settings], Moved],
) -> Response:
    deadline = service.deadline(request)
    accept = media.accept_of(request.headers)
    settings = service.settings
    with service.admission(deadline=deadline) as place:
        max_tokens = settings.max_images * service.models.max_tokens_per_image(None)
        call = await kind.read(request, max_tokens=max_tokens, service=service, place=place)
        with service.use_model(call.parameters.model or call.model, request=request) as model:
            tokenizer = model.tokenizer
            media_type = negotiate_moves(call.tokens[0], tokenizer=tokenizer, accept=accept)
            moved = await service.run(kind.operation, "infer", partial(move, call, model, settings))
            if media_type == media.PNG:
                rows = partial(tokenizer.check_tokens, moved)
                images = await model.decode(rows, deadline=deadline, receive=request.receive)
                reply = partial(strip_response, images, model=model)
            else:
                reply = partial(tokens_response, by_field(moved), media_type=media_type, model=model)
            return await service.run(kind.operation, "encode", reply)


def _perturb(call: MapCall[PerturbParameters], model: ServedModel, settings: Settings) -> Moved:
    call.check_claims(model.identity)
    parameters, tokenizer = call.parameters, model.tokenizer
    sent = call.tokens[0].each(as_grids)
    check_count(max(map(len, sent.arrays)), what="token grids", max_images=settings.max_images)
    tokens = sent.grids(tokenizer, level=parameters.level)
    return tokenizer.perturb(tokens, offset=parameters.offset, edge=parameters.edge, level=parameters.level)


def _interpolate(call: MapCall[InterpolateParameters], model: ServedModel, settings: Settings) -> Moved:
    call.check_claims(model.identity)
    steps, level = call.parameters.steps, call.parameters.level
    if steps > settings.max_images:
        raise ParameterError(f"steps is {steps}, the limit is {settings.max_images}; ask for fewer")
    start, end = (_first(sent.each(one_grid).grids(model.tokenizer, level=level)) for sent in call.tokens)
    return model.tokenizer.interpolate(start, end, num_steps=steps, level=level)


def _first(grids: Moved) -> Moved:
    return {name: grid[0] for name, grid in grids.items()} if isinstance(grids, dict) else grids[0]
