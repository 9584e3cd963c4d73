"""GET and POST /soft-targets: weights of codes around tokens, for training with labels that know the map."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from ...errors import NotAcceptableError, TokenizerError, TokenRangeError, TokensError
from ...runtime.levels import TokenLevel
from ...runtime.soft_targets import DenseTargets, SparseTargets
from .. import media
from ..map_bodies import MapBody, MapCall
from ..map_replies import negotiate_targets, targets_response
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
from ..parameters import LevelParameters, from_url, parameter_docs
from ..request_schemas import LevelSoftTargetsRequest, SoftTargetsRequest
from ..schemas import DenseTargetsContent, SparseTargetsContent
from ..service import Admitted, Service, ServiceDep
from ..settings import Settings
from ..table_limits import check_values

router = APIRouter(tags=["map"])


class SoftTargetsParameters(LevelParameters):
    """The parameters of /soft-targets, in the URL or in a JSON body."""

    sigma: float = Field(
        default=1.0,
        description="Standard deviation of the Gaussian of the distance on the map, in steps of the map.",
    )
    radius: float | None = Field(
        default=None,
        description="Weights of the token and those within this distance on the map alone (sparse).",
    )
    k: int | None = Field(
        default=None, le=2**31, description="Instead of `radius`: of the token and its k nearest on the map."
    )

    @property
    def is_sparse(self) -> bool:
        """Whether some codes alone have weights."""
        return self.radius is not None or self.k is not None


_BODY = MapBody(
    operation="soft-targets",
    parameters=SoftTargetsParameters,
    example='{"tokens": [0, 1], "sigma": 1.0, "radius": 2.0}',
)


def _replies(*errors: type[TokenizerError]) -> Responses:
    return reply_docs(
        "The weights, which sum to 1 for each token: of all K codes; or with `radius` or `k` of some, and "
        "their tokens, the token itself first, then the nearest. A row with fewer ends in padding.",
        DenseTargetsContent | SparseTargetsContent,
        binary={
            media.NPY: "the weights of all codes, float32 [..., K]; not with `radius` or `k`",
            media.SAFETENSORS: "weights float32 [..., K]; or weights float32 [..., M + 1], padded with 0, "
            "and tokens int32 [..., M + 1], padded with -1",
        },
        headers=NEGOTIATED,
        errors=(*MODEL_ERRORS, NotAcceptableError, *errors),
    )


@router.get(
    "/soft-targets",
    summary="Soft targets of every token",
    response_class=Response,
    dependencies=[Admitted],
    responses=_replies(),
    openapi_extra=parameter_docs(SoftTargetsParameters, headers=("X-Expect-Codebook-Hash",)),
)
async def get_soft_targets(
    request: Request,
    service: ServiceDep,
    parameters: Annotated[SoftTargetsParameters, Depends(from_url(SoftTargetsParameters))],
) -> Response:
    """Weigh codes by exp(-d^2 / (2 sigma^2)) of their distance on the map from each token, to sum to 1."""
    call = MapCall(tokens=(), claims={}, parameters=parameters)
    return await _answer(call, request=request, service=service)


@router.post(
    "/soft-targets",
    summary="Soft targets of some tokens",
    response_class=Response,
    responses=_replies(*BODY_ERRORS, TokensError, TokenRangeError),
    openapi_extra=request_docs(
        json_body(SoftTargetsRequest, LevelSoftTargetsRequest),
        binary_body(media.NPY, "integers of any shape; the parameters are in the URL"),
        binary_body(
            media.SAFETENSORS,
            "one tensor of such integers, `tokens`, or `tokens_LEVEL` of each level; the parameters are in "
            "the URL",
        ),
    )
    | parameter_docs(SoftTargetsParameters, headers=("X-Expect-Codebook-Hash",)),
)
async def post_soft_targets(request: Request, service: ServiceDep) -> Response:
    """Weigh codes by their distance on the map from each token sent, in the shape that the tokens have."""
    max_tokens = service.settings.max_table_values
    with service.admission() as place:
        call = await _BODY.read(request, max_tokens=max_tokens, service=service, place=place)
        return await _answer(call, request=request, service=service)


async def _answer(call: MapCall[SoftTargetsParameters], *, request: Request, service: Service) -> Response:
    accept = media.accept_of(request.headers)
    media_type = negotiate_targets(is_sparse=call.parameters.is_sparse, accept=accept)
    with service.use_model(call.parameters.model or call.model, request=request) as model:
        level = model.tokenizer.levels.choose(call.parameters.level)
        weigh = partial(_weigh, call, model=model, level=level, settings=service.settings)
        targets = await service.run("soft-targets", "infer", weigh)
        reply = partial(targets_response, targets, media_type=media_type, model=model, level=level)
        return await service.run("soft-targets", "encode", reply)


def _weigh(
    call: MapCall[SoftTargetsParameters], *, model: ServedModel, level: TokenLevel, settings: Settings
) -> DenseTargets | SparseTargets:
    """The targets of the call's tokens, or of every token if it has none."""
    call.check_claims(model.identity)
    tokens = call.tokens[0].of_level(level, tokenizer=model.tokenizer) if call.tokens else None
    num_tokens = level.level.codebook_size if tokens is None else tokens.size
    sigma, radius, k = call.parameters.sigma, call.parameters.radius, call.parameters.k
    topology = level.topology
    if call.parameters.is_sparse:
        row_size = topology.search(radius=radius, k=k).width + 1
        check_values(
            num_tokens, row_size=row_size, fix="fewer tokens, or a smaller radius or k", settings=settings
        )
        return topology.sparse_soft_targets(tokens, sigma=sigma, radius=radius, k=k)
    row_size = level.level.codebook_size
    check_values(
        num_tokens, row_size=row_size, fix="fewer tokens, or some codes by radius or k", settings=settings
    )
    return topology.soft_targets(tokens, sigma=sigma)
