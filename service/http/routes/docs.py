"""GET /docs and /openapi.json: the documentation, with examples made for the model that is served."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ..access import is_open
from ..docs_page import render_page
from ..openapi import build_openapi
from ..parameters import NoParameters
from ..replies import json_response
from ..service import Admitted, Service, ServiceDep

router = APIRouter(include_in_schema=False, dependencies=[NoParameters, Admitted])


@router.get("/docs")
async def get_docs(request: Request, service: ServiceDep) -> Response:
    """The page to read about the calls."""
    return await service.run("docs", "encode", lambda: HTMLResponse(render_page(_schema(request, service))))


@router.get("/openapi.json")
async def get_openapi_schema(request: Request, service: ServiceDep) -> Response:
    """The same for programs."""
    return await service.run("docs", "encode", lambda: json_response(_schema(request, service)))


def _schema(request: Request, service: Service) -> dict[str, Any]:
    service.require_warm()
    # As this client reaches us, which behind a proxy or a port mapping is not where we listen.
    base_url = str(request.base_url).rstrip("/")
    # Any model will do: all have the same calls.
    model, *others = service.models
    return build_openapi(
        request.app.routes,
        examples=model.examples,
        base_url=base_url,
        model=model.name if others else None,
        needs_key=lambda path: not (service.keyring.is_empty or is_open(path)),
    )
