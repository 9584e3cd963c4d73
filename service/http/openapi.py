"""The hand-written part of the OpenAPI schema: bodies, replies and errors of routes that bypass pydantic."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.routing import BaseRoute

from kohonen_tokenizer import __version__

from ..errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    CodebookMismatchError,
    DeadlineError,
    ForbiddenError,
    InferenceError,
    MalformedBodyError,
    MediaTypeError,
    ModelNotFoundError,
    NotReadyError,
    ParameterError,
    QueueFullError,
    StoppingError,
    TokenizerError,
    UnauthorizedError,
)
from . import media
from .examples import Example
from .schemas import Error

TITLE = "Kohonen tokenizer"

# What any request, any body, and any work may meet.
ANY_ERRORS = (UnauthorizedError, ForbiddenError, ParameterError, TokenizerError)
BODY_ERRORS = (MalformedBodyError, BodyTimeoutError, BodyTooLargeError, MediaTypeError)
WORK_ERRORS = (
    QueueFullError,
    NotReadyError,
    StoppingError,
    DeadlineError,
    InferenceError,
    ModelNotFoundError,
)
# And the same for work of a model that the request may describe.
MODEL_ERRORS = (*WORK_ERRORS, CodebookMismatchError)
# Headers of replies that depend on Accept.
IDENTITY = ("X-Model", "X-Model-Version", "X-Codebook-Hash")
NEGOTIATED = ("Vary", *IDENTITY)

_HEADERS = {
    "Cache-Control": "A cache must ask with `If-None-Match` before it uses what it has.",
    "Content-Encoding": "`gzip` or `deflate`, where `Accept-Encoding` names it.",
    "ETag": "Changes when the picture may have changed.",
    "Inference-Header-Content-Length": "Bytes of the JSON, where binary data stand behind it.",
    "Retry-After": "Seconds to wait before the same request may succeed.",
    "Vary": "Which header of the request chose this form: a cache must keep one reply for each.",
    "WWW-Authenticate": "How to send a key.",
    "X-Codebook-Hash": "SHA-256 of the code vectors: equal hashes, equal tokens.",
    "X-Error-Code": "The stable name of the error, to be compared by programs.",
    "X-Model": "Name of the model that answered.",
    "X-Model-Version": "Which version of it: another may have another codebook.",
    "X-Request-Id": "The id of this request in the server's log.",
}

_DESCRIPTION = """\
Images to grids of integer tokens and back. The tokens lie on a map, so their order means something: a token's
neighbors on the map decode to similar images.

Every error is JSON of one shape: a stable `code`, and a `message` with the value, the limit and the fix.
Below /v2 it is the shape of the Open Inference Protocol, and the code is in the header `X-Error-Code`.

Every reply has an `X-Request-Id`: the request's own if that is plain and short, else a new one.
"""

# In the order of the page.
_TAGS = {
    "tokens": "Images to tokens, and back.",
    "map": "What is near a token, and tokens moved over the map.",
    "model": "What is served, and its vocabulary.",
    "operation": "For whoever keeps the service running.",
    "open inference protocol": "The same models for clients of Triton and KServe.",
    "admin": "These need a key with scope admin.",
}

_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
# Any one of these.
_KEYS: list[dict[str, list[str]]] = [{name: []} for name in _SECURITY_SCHEMES]

# For calls that nobody makes without a key.
ADMIN_ONLY: Mapping[str, Any] = {"security": _KEYS}

Responses = dict[int | str, dict[str, Any]]


def build_openapi(
    routes: Sequence[BaseRoute],
    *,
    examples: Sequence[Example],
    base_url: str,
    model: str | None,
    needs_key: Callable[[str], bool],
) -> dict[str, Any]:
    """The OpenAPI schema of `routes`, for a client that reaches us at `base_url`.

    Args:
        routes: the app's.
        examples: one for each documented call.
        base_url: without a slash at its end.
        model: its name, if a call must say which it means.
        needs_key: whether calls of a path need an API key; those of the admin always do.
    """
    schema = get_openapi(
        title=TITLE,
        version=__version__,
        description=_DESCRIPTION,
        routes=routes,
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
    )
    schema["components"]["securitySchemes"] = _SECURITY_SCHEMES
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if needs_key(path):
                operation["security"] = _KEYS
            elif "security" not in operation:
                for error in (UnauthorizedError, ForbiddenError):
                    operation["responses"].pop(str(error.status), None)
    for example in examples:
        _add_example(schema["paths"][example.path][example.method], example, base_url=base_url, model=model)
    return schema


def _add_example(operation: dict[str, Any], example: Example, *, base_url: str, model: str | None) -> None:
    key = None
    if "security" in operation:
        key = "$ADMIN_KEY" if "admin" in operation["tags"] else "$KEY"
    operation["x-codeSamples"] = [
        {"lang": "Shell", "source": example.command(base_url, key=key, model=model)}
    ]
    values = dict(example.parameters) if model is None else {"model": model, **example.parameters}
    for parameter in operation.get("parameters", []):
        if parameter["name"] in values:
            parameter["example"] = values[parameter["name"]]
    if example.bodies:
        operation["requestBody"]["content"][media.JSON]["examples"] = {
            name: {"value": value} for name, value in example.bodies.items()
        }


def request_docs(*contents: Mapping[str, Any]) -> dict[str, Any]:
    """The documentation of a body that may be any of `contents`."""
    return {
        "requestBody": {
            "required": True,
            "content": {media_type: content for part in contents for media_type, content in part.items()},
        }
    }


def json_body(*models: type[BaseModel]) -> dict[str, Any]:
    """A JSON body of any of `models`."""
    schemas = [_whole_schema(model) for model in models]
    return {media.JSON: {"schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}}}


def binary_body(media_type: str, description: str) -> dict[str, Any]:
    """A body of raw bytes."""
    return {media_type: {"schema": _binary(description)}}


def files_body(description: str) -> dict[str, Any]:
    """A multipart body of files."""
    files = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": description,
    }
    return {media.MULTIPART: {"schema": {"type": "object", "properties": {"image": files}}}}


def reply_docs(
    description: str,
    model: Any,
    *,
    binary: Mapping[str, str] | None = None,
    headers: Sequence[str] = (),
    errors: Sequence[type[TokenizerError]] = (),
) -> Responses:
    """The documentation of a route's replies.

    Args:
        description: what the good reply is.
        model: the pydantic class, or union, of the good reply's JSON; None if there is none.
        binary: media types of the good reply's other forms, each with what it holds.
        headers: the good reply's headers, of those in this module's list.
        errors: what can go wrong, apart from what every request may meet.
    """
    content = {media_type: {"schema": _binary(text)} for media_type, text in (binary or {}).items()}
    good: dict[str, Any] = {"description": description, "headers": header_docs(*headers), "content": content}
    if model is not None:
        good["model"] = model
    errors = list(dict.fromkeys((*errors, *ANY_ERRORS)))
    replies: Responses = {200: good}
    for status in sorted({error.status for error in errors}):
        replies[status] = _error_docs([error for error in errors if error.status == status])
    return replies


def header_docs(*names: str) -> dict[str, Any]:
    """The documentation of a reply's headers `names`, and of that which every reply has."""
    return {
        name: {"description": _HEADERS[name], "schema": {"type": "string"}}
        for name in (*names, "X-Request-Id")
    }


def error_text(errors: Sequence[type[TokenizerError]]) -> str:
    """The list of `errors`, which share a status: the code of each, and what it means."""
    texts = {error: error.__doc__ for error in errors} | {TokenizerError: "A bug of the service."}
    return "\n".join(f"- `{error.code}`: {texts[error]}" for error in errors)


def error_headers(errors: Sequence[type[TokenizerError]]) -> list[str]:
    """Names of the headers of replies that tell of `errors`, beside that which every reply has."""
    headers = ["WWW-Authenticate"] if UnauthorizedError in errors else []
    if any(issubclass(error, NotReadyError | StoppingError | QueueFullError) for error in errors):
        headers.append("Retry-After")
    return headers


def _error_docs(errors: Sequence[type[TokenizerError]]) -> dict[str, Any]:
    codes = {"error": {"properties": {"code": {"enum": [error.code for error in errors]}}}}
    return {
        "description": error_text(errors),
        "headers": header_docs(*error_headers(errors)),
        "model": Error,
        "content": {media.JSON: {"schema": {"properties": codes}}},
    }


def _whole_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of `model` with those of the models in it in their places, where it refers to them.

    FastAPI keeps no definitions beside the schemas of bodies that it does not read itself.
    """
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        others = {key: resolve(value) for key, value in node.items() if key != "$ref"}
        if "$ref" in node:
            return resolve(definitions[node["$ref"].removeprefix("#/$defs/")]) | others
        return others

    whole: dict[str, Any] = resolve(schema)
    return whole


def _binary(description: str) -> dict[str, Any]:
    return {"type": "string", "format": "binary", "description": description}
