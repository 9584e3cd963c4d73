"""The hand-written part of the OpenAPI schema: bodies, replies and errors of routes that bypass pydantic."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.routing import BaseRoute

from kohonen_tokenizer import __version__

from ..errors import (
    BodyTooLargeError,
    MalformedBodyError,
    MediaTypeError,
    QueueFullError,
    StoppingError,
    TokenizerError,
)
from ..runtime.tokenizer import Tokenizer
from . import media
from .examples import make_examples
from .schemas import Error

TITLE = "Kohonen tokenizer"

# What any body may meet, and what any work may meet.
BODY_ERRORS = (MalformedBodyError, BodyTooLargeError, MediaTypeError)
WORK_ERRORS = (QueueFullError, StoppingError)

_DESCRIPTION = """\
Images to grids of integer tokens and back. The tokens lie on a map, so their order means something: a token's
neighbors on the map decode to similar images.

Every error is JSON of one shape: a stable `code`, and a `message` with the value, the limit and the fix.
Every reply has an `X-Request-Id`: the request's own if that is plain and short, else a new one.
"""

Responses = dict[int | str, dict[str, Any]]


def build_openapi(routes: Sequence[BaseRoute], *, tokenizer: Tokenizer, base_url: str) -> dict[str, Any]:
    """The OpenAPI schema of `routes`, with examples that work on `tokenizer` at `base_url`."""
    schema = get_openapi(title=TITLE, version=__version__, description=_DESCRIPTION, routes=routes)
    for example in make_examples(tokenizer, base_url=base_url):
        operation = schema["paths"][example.path][example.method]
        operation["description"] += f"\n\n```sh\n{example.command}\n```\n"
        for parameter in operation.get("parameters", []):
            if parameter["name"] in example.parameters:
                parameter["example"] = example.parameters[parameter["name"]]
        if example.bodies:
            operation["requestBody"]["content"][media.JSON]["examples"] = {
                name: {"value": value} for name, value in example.bodies.items()
            }
    return schema


def request_docs(*contents: Mapping[str, Any]) -> dict[str, Any]:
    """The documentation of a body that may be any of `contents`."""
    return {
        "requestBody": {
            "required": True,
            "content": {media_type: content for part in contents for media_type, content in part.items()},
        }
    }


def json_body(*models: type[BaseModel]) -> dict[str, Any]:
    """A JSON body of any of `models`, which hold no models themselves: references would lead nowhere."""
    schemas = [model.model_json_schema() for model in models]
    return {media.JSON: {"schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}}}


def binary_body(media_type: str, description: str) -> dict[str, Any]:
    """A body of raw bytes."""
    return {media_type: {"schema": _binary(description)}}


def files_body(description: str) -> dict[str, Any]:
    """A multipart body of files."""
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    schema = {"type": "object", "description": description, "properties": {"image": files}}
    return {media.MULTIPART: {"schema": schema}}


def reply_docs(
    description: str,
    model: Any,
    *,
    binary: Mapping[str, str] | None = None,
    errors: Sequence[type[TokenizerError]] = (),
) -> Responses:
    """The documentation of a route's replies.

    Args:
        description: what the good reply is.
        model: the pydantic class, or union, of the good reply's JSON; None if there is none.
        binary: media types of the good reply's other forms, each with what it holds.
        errors: what can go wrong, apart from our own bugs.
    """
    content = {media_type: {"schema": _binary(text)} for media_type, text in (binary or {}).items()}
    good: dict[str, Any] = {"description": description, "content": content}
    if model is not None:
        good["model"] = model
    replies: Responses = {200: good}
    for status in sorted({error.status for error in errors}):
        replies[status] = _error_docs([error for error in errors if error.status == status])
    replies[500] = _error_docs([TokenizerError], description="A bug of the service.")
    return replies


def _error_docs(errors: Sequence[type[TokenizerError]], *, description: str | None = None) -> dict[str, Any]:
    codes = {"error": {"properties": {"code": {"enum": [error.code for error in errors]}}}}
    return {
        "description": description or "\n".join(f"- `{error.code}`: {error.__doc__}" for error in errors),
        "model": Error,
        "content": {media.JSON: {"schema": {"properties": codes}}},
    }


def _binary(description: str) -> dict[str, Any]:
    return {"type": "string", "format": "binary", "description": description}
