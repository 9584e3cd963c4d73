"""Every error as one shape of JSON: {"error": {"code", "message", "request_id"}}."""

from http import HTTPStatus

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..errors import InputError, NotReadyError, ParameterError, QueueFullError, StoppingError, TokenizerError
from .media import JSON
from .validation import describe_validation

# A guess for want of a measurement: most requests take far less than a second.
RETRY_AFTER_S = 1
# What the router itself answers, before any code of ours runs.
NOT_FOUND = "not_found"
METHOD_NOT_ALLOWED = "method_not_allowed"


def add_error_handlers(app: FastAPI) -> None:
    """Give `app` the handlers that turn its exceptions into our shape of reply."""
    app.add_exception_handler(TokenizerError, _tokenizer_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _router_error)


def error_response(error: TokenizerError, *, request_id: str) -> Response:
    """The reply that tells a client about `error`."""
    retry = isinstance(error, NotReadyError | StoppingError | QueueFullError)
    return _response(
        status=error.status,
        code=error.code,
        message=error.message,
        request_id=request_id,
        headers={"Retry-After": str(RETRY_AFTER_S)} if retry else {},
    )


async def _tokenizer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TokenizerError)
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        # Only an operator can do something about a bundle or a device: to a client this is a bug.
        raise RuntimeError("an operator's error reached a request") from error
    request.state.error_code = error.code
    return error_response(error, request_id=request.state.request_id)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _tokenizer_error(request, ParameterError(describe_validation(error.errors())))


async def _router_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            code = NOT_FOUND
            message = f"there is no {request.url.path[:100]!r} here; / leads to the list of what there is"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            code = METHOD_NOT_ALLOWED
            allowed = (error.headers or {}).get("Allow", "another method")
            message = f"{request.method[:20]} is not for {request.url.path[:100]!r}; use {allowed}"
        case _:
            code = InputError.code
            message = error.detail
    request.state.error_code = code
    return _response(
        status=error.status_code,
        code=code,
        message=message,
        request_id=request.state.request_id,
        headers=dict(error.headers or {}),
    )


def _response(*, status: int, code: str, message: str, request_id: str, headers: dict[str, str]) -> Response:
    body = orjson.dumps({"error": {"code": code, "message": message, "request_id": request_id}})
    return Response(body, status_code=status, media_type=JSON, headers=headers)
