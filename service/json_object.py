"""JSON objects from bytes that a stranger sent, and the words for what is wrong with them."""

import json
from typing import Any

import orjson

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

    An integer beyond 64 bits comes as the float nearest to it.

    Raises:
        MalformedBodyError: not JSON, not an object, or an object with two values for one key.
    """
    try:
        fields = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise MalformedBodyError(f"this is no JSON ({str(error)[:100]}); give {example}") from None
    if not isinstance(fields, dict):
        raise MalformedBodyError(f"the JSON is {kind_of(fields)}; give the object {example}")
    # orjson keeps the last value of a repeated key in silence. But each key has a colon after it, so where
    # there are no more colons than keys that were kept, no key is repeated. More may be text, in strings.
    if content.count(b":") > _num_keys(fields):
        _check_repeats(content)
    return fields


def keys_of(fields: dict[str, Any]) -> str:
    """The first keys of a JSON object, for a message."""
    return f"the keys {', '.join(repr(key[:30]) for key in list(fields)[:5])}" if fields else "no keys"


def kind_of(value: object) -> str:
    """JSON's word for the type of `value`, for a message."""
    return _KINDS[type(value)]


def _num_keys(fields: dict[str, Any]) -> int:
    """The keys of `fields` and the objects in it; fewer if a list with an object begins with none."""
    num_keys = 0
    values: list[Any] = [fields]
    while values:
        match values.pop():
            case dict() as value:
                num_keys += len(value)
                values.extend(value.values())
            case [dict(), *_] as value:
                values.extend(value)
    return num_keys


def _check_repeats(content: bytes) -> None:
    """Let no key be in an object twice, by the standard library's reader: slower, but it shows them."""
    try:
        json.loads(content.decode(), object_pairs_hook=_without_repeats)
    except RecursionError:
        raise MalformedBodyError("the JSON is nested hundreds deep; give fewer levels") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise MalformedBodyError("a JSON object has a key twice; give each key once")
    return fields
