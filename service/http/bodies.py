"""Request bodies: their bytes, collected on the event loop under limits of size and time."""

from collections.abc import Sequence
from dataclasses import dataclass

import anyio
from starlette.requests import Request

from ..errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    ImageCountError,
    MalformedBodyError,
    MediaTypeError,
)
from .media import media_type_of

# What a body of tokens may have: a number in JSON, indented, and whatever else, such as the head of a .npy,
# which has at most 8 bytes a token. Without it, lists within lists cost thirty times their bytes to parse.
BYTES_PER_TOKEN = 24
BYTES_BESIDE_TOKENS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A request's body, complete and within the limits."""

    media_type: str
    """Lower case, without parameters."""
    content_type: str
    """The header as sent; a multipart body needs its boundary."""
    content: bytes


async def read_body(
    request: Request, *, media_types: Sequence[str], max_bytes: int, timeout_s: float
) -> Body:
    """The body of `request`, which must be of one of `media_types`.

    Raises:
        MediaTypeError: of another type, or compressed.
        BodyTooLargeError: over `max_bytes`, by its Content-Length or by the bytes that came so far.
        BodyTimeoutError: not complete after `timeout_s`.
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
    _check_size(int(request.headers.get("content-length", "0")), max_bytes=max_bytes)
    content = bytearray()
    try:
        with anyio.fail_after(timeout_s):
            async for chunk in request.stream():
                content += chunk
                _check_size(len(content), max_bytes=max_bytes)
    except TimeoutError:
        raise BodyTimeoutError(
            f"{len(content)} bytes of the body came in {timeout_s} s, the limit for all of it; "
            "send it faster, or send less in a request"
        ) from None
    if not content:
        raise MalformedBodyError(f"the body is empty; send {media_type}")
    return Body(media_type=media_type, content_type=content_type, content=bytes(content))


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


def _check_size(num_bytes: int, *, max_bytes: int) -> None:
    if num_bytes > max_bytes:
        raise BodyTooLargeError(
            f"the body has {num_bytes} bytes or more, the limit is {max_bytes}; send less in a request"
        )
