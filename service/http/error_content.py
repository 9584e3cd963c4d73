"""What is said of an error over HTTP, in one shape of JSON: {"error": {"code", "message", "request_id"}},
with the `index` of the item at fault where a request has several.

Below /v2 it is that of the Open Inference Protocol, {"error": message}, with the code in a header. This
needs no web framework, for the supervisor of workers has none.
"""

import math
from dataclasses import dataclass

import orjson

from ..errors import (
    BodyTimeoutError,
    InputError,
    NotReadyError,
    QueueFullError,
    StoppingError,
    TokenizerError,
    UnauthorizedError,
)

# Where nothing is measured: most requests take far less than a second.
RETRY_AFTER_S = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorContent:
    """The body of a reply, and the headers that belong to it."""

    body: bytes
    headers: dict[str, str]


def error_content(error: TokenizerError, *, path: str, request_id: str) -> ErrorContent:
    """What tells a client about `error`, which met its request for `path`."""
    headers = {"Content-Type": "application/json"}
    content: str | dict[str, object] = error.message
    if path == "/v2" or path.startswith("/v2/"):
        headers["X-Error-Code"] = error.code
    else:
        content = {"code": error.code, "message": error.message, "request_id": request_id}
        if isinstance(error, InputError) and error.index is not None:
            content["index"] = error.index
    if isinstance(error, QueueFullError):
        headers["Retry-After"] = str(max(RETRY_AFTER_S, math.ceil(error.retry_after_s)))
    if isinstance(error, NotReadyError | StoppingError):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, BodyTimeoutError):
        # Or the client could go on for ever with a body that nobody reads.
        headers["Connection"] = "close"
    return ErrorContent(body=orjson.dumps({"error": content}), headers=headers)
