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
from ...runtime.backend import Tokens
from ...runtime.map_edges import Edge
from ...token_grids import as_grids, one_grid
from .. import media
from ..bodies import check_count
from ..map_bodies import MapBody, MapCall
from ..map_replies import MOVE_REPLIES, strip_response
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
from ..parameters import ModelParameters, parameter_docs
from ..replies import tokens_response
from ..schemas import Encoded, InterpolateRequest, PerturbRequest
from ..service import Service, ServiceDep
from ..settings import Settings

router = APIRouter(tags=["map"])

P = TypeVar("P", bound=ModelParameters)


class PerturbParameters(ModelParameters):
    """The parameters of /perturb, in the URL or in a JSON body."""

    repeatable: ClassVar = frozenset({"offset"})

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


class InterpolateParameters(ModelParameters):
    """The parameters of /interpolate, in the URL or in a JSON body."""

    steps: int = Field(
        default=8,
        ge=2,
        description="How many grids there are on the way, both ends counted; as many as a request may have "
        "images. Here or in the body.",
    )


_PERTURB = MapBody(
    operation="perturb",
    names=("tokens",),
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
        Encoded,
        binary={
            media.NPY: f"int32 {shape}",
            media.SAFETENSORS: f"`tokens`, int32 {shape}; the model's identity in the metadata",
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
        json_body(PerturbRequest),
        binary_body(media.NPY, "integers [h, w] or [B, h, w]; the parameters are in the URL"),
        binary_body(
            media.SAFETENSORS, "one tensor of such integers, `tokens`; the parameters are in the URL"
        ),
    )
    | parameter_docs(PerturbParameters, headers=("X-Timeout-S", "X-Expect-Codebook-Hash")),
)
async def perturb(request: Request, service: ServiceDep) -> Response:
    """Move each token by `offset` on the map (Figure 5 of the paper): tokens, or a picture (by `Accept`)."""
    return await _answer(request, service, kind=_PERTURB, move=_perturb)


@router.post(
    "/interpolate",
    summary="A path over the map between two grids of tokens",
    response_class=Response,
    responses=_replies("The grids on the way, the two ends included.", shape="[steps, h, w]"),
    openapi_extra=request_docs(json_body(InterpolateRequest))
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
    move: Callable[[MapCall[P], ServedModel, Settings], Tokens],
) -> Response:
    deadline = service.deadline(request)
    media_type = media.negotiate(media.accept_of(request.headers), offers=MOVE_REPLIES)
    settings = service.settings
    with service.admission(deadline=deadline) as place:
        max_tokens = settings.max_images * service.models.max_tokens_per_image(None)
        call = await kind.read(request, max_tokens=max_tokens, service=service, place=place)
        with service.use_model(call.parameters.model or call.model, request=request) as model:
            tokens = await service.run(kind.operation, "infer", partial(move, call, model, settings))
            if media_type == media.PNG:
                images = await model.decode(lambda: tokens, deadline=deadline, receive=request.receive)
                reply = partial(strip_response, images, model=model)
            else:
                reply = partial(tokens_response, tokens, media_type=media_type, model=model)
            return await service.run(kind.operation, "encode", reply)


def _perturb(call: MapCall[PerturbParameters], model: ServedModel, settings: Settings) -> Tokens:
    call.check_claims(model.identity)
    grids = as_grids(call.tokens[0])
    check_count(len(grids), what="token grids", max_images=settings.max_images)
    tokens = model.tokenizer.check_tokens(grids)
    return model.tokenizer.topology.perturb(tokens, offset=call.parameters.offset, edge=call.parameters.edge)


def _interpolate(call: MapCall[InterpolateParameters], model: ServedModel, settings: Settings) -> Tokens:
    call.check_claims(model.identity)
    steps = call.parameters.steps
    if steps > settings.max_images:
        raise ParameterError(f"steps is {steps}, the limit is {settings.max_images}; ask for fewer")
    start, end = (model.tokenizer.check_tokens(one_grid(grid))[0] for grid in call.tokens)
    return model.tokenizer.topology.interpolate(start, end, num_steps=steps)
