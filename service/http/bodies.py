"""Request bodies: their bytes, collected on the event loop."""

from collections.abc import Sequence
from dataclasses import dataclass

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
