"""Request bodies: their bytes, collected on the event loop under limits of size and time."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from ..errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    DeadlineError,
    ImageCountError,
    MalformedBodyError,
    MediaTypeError,
)
from .admission import Place
from .media import media_type_of
from .service import Service

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
    request: Request, *, media_types: Sequence[str], max_bytes: int, service: Service, place: Place
) -> Body:
    """The body of `request`, which must be of one of `media_types`; its bytes count for `place`.

    Raises:
        MediaTypeError: of another type, or compressed.
        TokenizerError: as `read_content` has it.
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
    content = await read_content(request, max_bytes=max_bytes, service=service, place=place)
    return Body(media_type=media_type, content_type=content_type, content=content)


async def read_content(request: Request, *, max_bytes: int, service: Service, place: Place) -> bytes:
    """The bytes of the body of `request`, of any type, as they came; they count for `place`.

    Raises:
        BodyTooLargeError: over `max_bytes`, by its Content-Length or by the bytes that came so far.
        BodyTimeoutError: not complete after the time that a body may take.
        DeadlineError: not complete at the request's deadline.
        QueueFullError: there is no memory for it beside the bodies of others.
        MalformedBodyError: empty.
    """
    _check_size(int(request.headers.get("content-length", "0")), max_bytes=max_bytes)
    timeout_s = service.settings.body_timeout_s
    remaining_s = place.deadline - time.monotonic()
    chunks = []
    num_bytes = 0
    try:
        async with asyncio.timeout(min(timeout_s, remaining_s)):
            async for chunk in request.stream():
                num_bytes += len(chunk)
                _check_size(num_bytes, max_bytes=max_bytes)
                place.add_bytes(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        if remaining_s < timeout_s:
            raise DeadlineError(
                f"{num_bytes} bytes of the body came before the deadline; send it faster, or allow more time"
            ) from None
        raise BodyTimeoutError(
            f"{num_bytes} bytes of the body came in {timeout_s} s, the limit for all of it; "
            "send it faster, or send less in a request"
        ) from None
    if not num_bytes:
        raise MalformedBodyError("the body is empty; send what this call takes")
    return b"".join(chunks)


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
