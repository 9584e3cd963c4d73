"""Request bodies: their bytes, collected on the event loop, and what both kinds of body share in parsing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request

from ..errors import ImageCountError, MalformedBodyError, MediaTypeError
from .media import media_type_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A request's body, complete and under the cap."""

    media_type: str
    """Lower case, without parameters."""
    content_type: str
    """The header as sent; a multipart body needs its boundary."""
    content: bytes


async def read_body(request: Request, *, media_types: Sequence[str]) -> Body:
    """The body of `request`, which must be of one of `media_types`.

    Raises:
        MediaTypeError: of another type, or compressed.
        BodyTooLargeError: over the cap.
        MalformedBodyError: empty.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise MediaTypeError(f"Content-Encoding {encoding[:50]!r} is not read; send the body as it is")
    content_type = request.headers.get("content-type", "")
    media_type = media_type_of(content_type)
    if media_type not in media_types:
        raise MediaTypeError(
            f"Content-Type {media_type[:100]!r} is not read here; send one of {', '.join(media_types)}"
        )
    content = await request.body()
    if not content:
        raise MalformedBodyError(f"the body is empty; send {media_type}")
    return Body(media_type=media_type, content_type=content_type, content=content)


def read_json_object(content: bytes, *, example: str) -> dict[str, Any]:
    """The JSON object in `content`; `example` tells a client that sent something else what belongs here.

    Raises:
        MalformedBodyError: not JSON, or not an object.
    """
    try:
        fields = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise MalformedBodyError(f"the body is no JSON ({str(error)[:100]}); send {example}") from None
    if not isinstance(fields, dict):
        raise MalformedBodyError(f"the body is {kind_of(fields)}; send the JSON object {example}")
    return fields


def check_count(count: int, *, what: str, max_images: int) -> None:
    """Return if one request may hold `count` images or token grids.

    Raises:
        MalformedBodyError: none.
        ImageCountError: more than `max_images`.
    """
    if count == 0:
        raise MalformedBodyError(f"the body holds no {what}; send 1 to {max_images}")
    if count > max_images:
        raise ImageCountError(f"the body holds {count} {what}, the limit is {max_images}; send fewer")


def keys_of(fields: dict[str, Any]) -> str:
    """The first keys of a JSON object, for a message."""
    return f"the keys {', '.join(repr(key[:30]) for key in list(fields)[:5])}" if fields else "no keys"


def kind_of(value: object) -> str:
    """JSON's word for the type of `value`, for a message."""
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "an integer",
        float: "a fraction or a number beyond 64 bits",
        type(None): "null",
    }
    return kinds[type(value)]
