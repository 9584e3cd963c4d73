"""The OpenAPI documentation of the calls of the Open Inference Protocol, whose errors have its own shape."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Path

from ...errors import TokenizerError
from .. import media
from ..openapi import ANY_ERRORS, Responses, error_headers, error_text, header_docs

ModelName = Annotated[str, Path(description="NAME-encoder or NAME-decoder, where NAME is a name in /models.")]

_ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {"error": {"type": "string", "description": "One line: the value, the limit and the fix."}},
}


def object_docs(*names: str) -> dict[str, Any]:
    """The schema of a JSON object with the keys `names`, and maybe others."""
    return {"type": "object", "required": list(names)}


def protocol_docs(
    description: str,
    schema: Mapping[str, Any],
    *,
    is_binary: bool = False,
    headers: Sequence[str] = (),
    errors: Sequence[type[TokenizerError]] = (),
) -> Responses:
    """The documentation of a call's replies.

    Args:
        description: what the good reply is.
        schema: of the good reply's JSON.
        is_binary: whether that may have binary data behind it.
        headers: the good reply's headers, of those that `header_docs` knows.
        errors: what can go wrong, apart from what every request may meet.
    """
    content: dict[str, Any] = {media.JSON: {"schema": schema}}
    if is_binary:
        content[media.OCTETS] = {"schema": {"type": "string", "format": "binary"}}
    replies: Responses = {
        200: {"description": description, "headers": header_docs(*headers), "content": content}
    }
    all_errors: list[type[TokenizerError]] = list(dict.fromkeys((*errors, *ANY_ERRORS)))
    for status in sorted({error.status for error in all_errors}):
        of_status = [error for error in all_errors if error.status == status]
        replies[status] = {
            "description": error_text(of_status),
            "headers": header_docs("X-Error-Code", *error_headers(of_status)),
            "content": {media.JSON: {"schema": _ERROR}},
        }
    return replies
