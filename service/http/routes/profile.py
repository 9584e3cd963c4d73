"""POST /profile: where the process that answers spends its time."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from ...errors import ForbiddenError, NotAcceptableError, QueueFullError, UnauthorizedError
from .. import media
from ..access import AdminOnly
from ..openapi import ADMIN_ONLY, reply_docs
from ..parameters import Parameters, from_url, parameter_docs
from ..profile import to_collapsed, to_speedscope
from ..replies import json_response
from ..service import ServiceDep

router = APIRouter(tags=["admin"])

_OFFERS = (media.TEXT, media.JSON)


class ProfileParameters(Parameters):
    """The parameters of /profile."""

    seconds: float = Field(default=5.0, ge=1.0, le=60.0, description="Seconds to watch.")


@router.post(
    "/profile",
    summary="A profile of all threads",
    response_class=Response,
    dependencies=[AdminOnly],
    responses=reply_docs(
        "The stacks that were met and how often, a line each, for flame graphs; as JSON for speedscope.",
        None,
        binary={
            media.TEXT: "frames from the outermost on, by ;, and a count",
            media.JSON: "speedscope's format",
        },
        errors=(UnauthorizedError, ForbiddenError, NotAcceptableError, QueueFullError),
    ),
    openapi_extra={**parameter_docs(ProfileParameters), **ADMIN_ONLY},
)
async def profile(
    request: Request,
    service: ServiceDep,
    parameters: Annotated[ProfileParameters, Depends(from_url(ProfileParameters))],
) -> Response:
    """Sample every thread's Python stack a hundred times a second; needs a key with scope admin."""
    media_type = media.negotiate(media.accept_of(request.headers), offers=_OFFERS)
    counts = await service.profiler.profile(parameters.seconds, is_over=lambda: service.is_stopping)
    if media_type == media.JSON:
        return json_response(to_speedscope(counts))
    return Response(to_collapsed(counts), media_type=media.TEXT)
