"""GET /, /docs and /openapi.json: the documentation, with examples made from the model that is served."""

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..replies import json_response
from ..service import ServiceDep

router = APIRouter(include_in_schema=False)


@router.get("/")
async def get_root() -> Response:
    """Lead a newcomer to the documentation."""
    return RedirectResponse("/docs")


@router.get("/docs")
async def get_docs() -> Response:
    """The page to read about the calls and to try them."""
    return get_swagger_ui_html(openapi_url="/openapi.json", title="Kohonen tokenizer")


@router.get("/openapi.json")
async def get_openapi_schema(request: Request, service: ServiceDep) -> Response:
    """The schema; its examples come from the model, so it is made in a worker thread."""
    schema = await service.run("docs", "reply", request.app.state.openapi.get)
    return json_response(schema)
