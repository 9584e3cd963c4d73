"""POST /models/{name}/load: another version of a model, while it is served."""

import dataclasses
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BeforeValidator, Field
from starlette.requests import Request

from ...errors import (
    ForbiddenError,
    LoadBusyError,
    LoadError,
    QueueFullError,
    UnauthorizedError,
)
from ...json_object import read_json_object
from .. import media
from ..access import AdminOnly
from ..bodies import read_body
from ..openapi import ADMIN_ONLY, BODY_ERRORS, json_body, reply_docs
from ..parameters import NoParameters, Parameters, validate
from ..schemas import Loaded
from ..service import Service, ServiceDep

router = APIRouter(tags=["admin"])

_MAX_BODY_BYTES = 4096

ModelName = Annotated[str, Path(description="A name in `available` of /models.")]


def _text_of_number(version: object) -> object:
    # Versions in a model directory are numbers, and whoever writes one as such means it.
    return str(version) if type(version) is int else version


Version = Annotated[str | None, BeforeValidator(_text_of_number, json_schema_input_type=str | int | None)]


class LoadParameters(Parameters):
    """What to load; an empty body says the same as an empty object."""

    version: Version = Field(
        default=None, description="One of those in `available` of /models; unset, the highest."
    )


@router.post(
    "/models/{name}/load",
    summary="Load a version of a model",
    dependencies=[AdminOnly, NoParameters],
    responses=reply_docs(
        "The version is served.",
        Loaded,
        errors=(
            *BODY_ERRORS,
            QueueFullError,
            UnauthorizedError,
            ForbiddenError,
            LoadError,
            LoadBusyError,
        ),
    ),
    openapi_extra={
        "requestBody": {"required": False, "content": json_body(LoadParameters)},
        **ADMIN_ONLY,
    },
)
async def load(name: ModelName, request: Request, service: ServiceDep) -> Loaded:
    """Load a version beside the present one, check it, and serve it in its place without losing a request.

    What was begun with the old version ends with it. If the new one is broken, the old one goes on. Of
    several workers all take it or none, within milliseconds of each other. Needs a key with scope admin.
    """
    version = await _read_version(request, service=service)
    report = await service.loader.load(name, version=version)
    return Loaded(**dataclasses.asdict(report))


async def _read_version(request: Request, *, service: Service) -> str | None:
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return None
    with service.admission() as place:
        body = await read_body(
            request, media_types=(media.JSON,), max_bytes=_MAX_BODY_BYTES, service=service, place=place
        )
    fields = read_json_object(body.content, example='{"version": "3"}')
    return validate(LoadParameters, fields).version
