"""GET /models, /codebook and /map.png: what is served, its vocabulary in numbers, and as a picture."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ...errors import (
    CodebookMismatchError,
    DeadlineError,
    ModelNotFoundError,
    NotAcceptableError,
    NotReadyError,
    StoppingError,
)
from .. import media
from ..openapi import IDENTITY, MODEL_ERRORS, NEGOTIATED, header_docs, reply_docs
from ..parameters import LevelParameters, NoParameters, from_url, parameter_docs
from ..replies import CODEBOOK_REPLIES, codebook_response, map_response
from ..schemas import CodebookContent, ModelCard, Models
from ..service import Admitted, ServiceDep

router = APIRouter(tags=["model"])

LevelDep = Annotated[LevelParameters, Depends(from_url(LevelParameters))]


@router.get(
    "/models",
    summary="The models served",
    dependencies=[NoParameters],
    responses=reply_docs("The models.", Models),
)
async def get_models(service: ServiceDep) -> Models:
    """List each model with its sizes, metrics, training data and hashes."""
    return Models(
        available=await service.loads.available(),
        missing=service.models.missing,
        models=[
            ModelCard.model_validate(
                {**dict(model.tokenizer.manifest), "name": model.name, "version": model.version}
            )
            for model in service.models
        ],
    )


@router.get(
    "/codebook",
    summary="The codebook",
    response_class=Response,
    dependencies=[Admitted],
    responses=reply_docs(
        "The code vectors and their places on the map.",
        CodebookContent,
        binary={media.NPY: "the vectors alone, float32 [K, D]"},
        headers=NEGOTIATED,
        errors=(*MODEL_ERRORS, NotAcceptableError),
    ),
    openapi_extra=parameter_docs(LevelParameters, headers=("X-Expect-Codebook-Hash",)),
)
async def get_codebook(request: Request, service: ServiceDep, parameters: LevelDep) -> Response:
    """Give every code vector and its coordinates, as JSON, or the vectors as .npy (by `Accept`)."""
    media_type = media.negotiate(media.accept_of(request.headers), offers=CODEBOOK_REPLIES)
    with service.use_model(parameters.model, request=request) as model:
        level = model.tokenizer.levels.choose(parameters.level)
        reply = partial(codebook_response, model, level=level, media_type=media_type)
        return await service.run("codebook", "encode", reply)


@router.get(
    "/map.png",
    summary="The map as a picture",
    response_class=Response,
    responses=reply_docs(
        "Every code decoded as a constant grid, each at its place on the map. Other levels have the token in "
        "the middle of their map in every place, which the header `X-Held-Tokens` names, as in `bottom=6`.",
        None,
        binary={media.PNG: "rows * H pixels high, columns * W wide; of H and W over 32 the middle 32"},
        headers=("ETag", "Cache-Control", *IDENTITY),
        errors=(DeadlineError, NotReadyError, StoppingError, ModelNotFoundError, CodebookMismatchError),
    )
    | {
        304: {
            "description": "The picture that `If-None-Match` names is still the right one.",
            "headers": header_docs("ETag", "Cache-Control"),
        }
    },
    openapi_extra=parameter_docs(
        LevelParameters, headers=("If-None-Match", "X-Timeout-S", "X-Expect-Codebook-Hash")
    ),
)
async def get_map(request: Request, service: ServiceDep, parameters: LevelDep) -> Response:
    """Show the map: where the model is well ordered, neighbors look alike."""
    service.require_warm()
    with service.use_model(parameters.model, request=request) as model:
        return await map_response(
            model,
            level=model.tokenizer.levels.choose(parameters.level),
            if_none_match=request.headers.get("if-none-match"),
            deadline=service.deadline(request),
        )
