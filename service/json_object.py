"""JSON objects from bytes that a stranger sent, and the words for what is wrong with them."""

import json
from typing import Any

from .errors import MalformedBodyError

_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a fraction",
    type(None): "null",
}


def read_json_object(content: bytes, *, example: str) -> dict[str, Any]:
    """The JSON object in `content`; `example` tells whoever gave something else what belongs here.

    Raises:
        MalformedBodyError: not JSON, not an object, or an object with two values for one key.
    """
    try:
        # The standard library's reader, for it shows repeated keys; others keep the last value in silence.
        fields = json.loads(
            content.decode(), object_pairs_hook=_without_repeats, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise MalformedBodyError(f"this is no JSON ({str(error)[:100]}); give {example}") from None
    if not isinstance(fields, dict):
        raise MalformedBodyError(f"the JSON is {kind_of(fields)}; give the object {example}")
    return fields


def keys_of(fields: dict[str, Any]) -> str:
    """The first keys of a JSON object, for a message."""
    return f"the keys {', '.join(repr(key[:30]) for key in list(fields)[:5])}" if fields else "no keys"


def kind_of(value: object) -> str:
    """JSON's word for the type of `value`, for a message."""
    return _KINDS[type(value)]


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise MalformedBodyError("a JSON object has a key twice; give each key once")
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
