"""Every error as a reply: what the app raises, and what the web framework does."""

from collections import defaultdict
from collections.abc import Iterable
from http import HTTPStatus

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from ..errors import InferenceError, MethodNotAllowedError, NotFoundError, TokenizerError
from .error_content import error_content


def add_error_handlers(app: FastAPI, *, routers: Iterable[APIRouter]) -> None:
    """Give `app`, which has `routers`, the handlers that turn its exceptions into our shape of reply."""
    methods: dict[str, set[str]] = defaultdict(set)
    for router in routers:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            methods[route.path] |= route.methods or set()
    for path_methods in methods.values():
        if "GET" in path_methods:
            path_methods.add("HEAD")

    async def method_not_allowed(request: Request, _: Exception) -> Response:
        # Of all routes of this path; the router knows of the first one only.
        allowed = ", ".join(sorted(methods[request.scope["route"].path]))
        error = MethodNotAllowedError(
            f"{request.method[:20]} is not for {request.url.path[:100]!r}; use {allowed}"
        )
        reply = await _tokenizer_error(request, error)
        reply.headers["Allow"] = allowed
        return reply

    app.add_exception_handler(TokenizerError, _tokenizer_error)
    app.add_exception_handler(HTTPStatus.NOT_FOUND, _not_found)
    app.add_exception_handler(HTTPStatus.METHOD_NOT_ALLOWED, method_not_allowed)
    app.add_exception_handler(Exception, _bug)


def error_response(error: TokenizerError, *, path: str, request_id: str) -> Response:
    """The reply that tells a client about `error`, which met its request for `path`."""
    content = error_content(error, path=path, request_id=request_id)
    return Response(content.body, status_code=error.status, headers=content.headers)


def error_reply(request: Request, error: TokenizerError) -> Response:
    """The reply to `request`, on which `error` was raised; its code is left for the log."""
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, InferenceError):
        # Only an operator can do something about a bundle or a device: to a client this is a bug.
        raise RuntimeError("an operator's error reached a request") from error
    request.state.error_code = error.code
    return error_response(error, path=request.url.path, request_id=request.state.request_id)


async def _tokenizer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TokenizerError)
    return error_reply(request, error)


async def _bug(_: Request, error: Exception) -> Response:
    # Past the web framework, which would answer in plain text: ExchangeMiddleware answers bugs.
    raise error


async def _not_found(request: Request, _: Exception) -> Response:
    return await _tokenizer_error(
        request, NotFoundError(f"there is no {request.url.path[:100]!r} here; see /docs for what there is")
    )
