"""Media types: what a request's body is, and which type its client accepts (RFC 9110, section 12.5.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from starlette.datastructures import Headers

from ..errors import NotAcceptableError
from ..token_grids import TokenFormat

JPEG = "image/jpeg"
PNG = "image/png"
WEBP = "image/webp"
JSON = "application/json"
NPY = "application/x-npy"
SAFETENSORS = "application/x-safetensors"
TEXT = "text/plain"
OCTETS = "application/octet-stream"
MULTIPART = "multipart/form-data"

# What `read_token_grids` calls the types of tokens.
TOKEN_FORMATS: Mapping[str, TokenFormat] = {JSON: "json", NPY: "npy", SAFETENSORS: "safetensors"}

IMAGES = (JPEG, PNG, WEBP)

# A browser's has some hundred; all are read on the event loop, and the last ones kept.
_MAX_ACCEPT_CHARS = 4096


@dataclass(frozen=True, kw_only=True)
class _MediaRange:
    """One entry of an Accept header, such as `image/*;q=0.5`."""

    type: str
    subtype: str
    quality: float

    def specificity(self, media_type: str) -> int:
        """How closely this range names `media_type`: 0 not at all, 3 exactly."""
        type_, _, subtype = media_type.partition("/")
        if (self.type, self.subtype) == (type_, subtype):
            return 3
        if (self.type, self.subtype) == (type_, "*"):
            return 2
        return 1 if (self.type, self.subtype) == ("*", "*") else 0


def media_type_of(content_type: str) -> str:
    """The media type of a Content-Type: lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def accept_of(headers: Headers) -> str | None:
    """The Accept header, of which a request may have several."""
    return ", ".join(headers.getlist("accept")) or None


# Clients are programs that send the same few over and over.
@lru_cache(maxsize=256)
def negotiate(accept: str | None, *, offers: tuple[str, ...]) -> str:
    """The offer that the client prefers; among equals the first one.

    Raises:
        NotAcceptableError: `accept` rules out every offer, or does not parse, or is long.
    """
    if accept is None or not accept.strip():
        return offers[0]
    if len(accept) > _MAX_ACCEPT_CHARS:
        raise NotAcceptableError(
            f"Accept has {len(accept)} characters, the limit is {_MAX_ACCEPT_CHARS}; name fewer types"
        )
    ranges = [media_range for entry in accept.split(",") if (media_range := _parse_range(entry)) is not None]
    qualities = {offer: _quality(offer, ranges) for offer in offers}
    best = max(offers, key=lambda offer: qualities[offer])
    if qualities[best] == 0.0:
        raise NotAcceptableError(
            f"Accept {accept[:100]!r} fits none of {', '.join(offers)}; ask for one of them, or for none"
        )
    return best


def _quality(offer: str, ranges: Sequence[_MediaRange]) -> float:
    # The most specific range decides, so that "*/*, image/png;q=0" excludes PNG and nothing else.
    closest = max(ranges, key=lambda media_range: media_range.specificity(offer), default=None)
    return closest.quality if closest is not None and closest.specificity(offer) > 0 else 0.0


def _parse_range(entry: str) -> _MediaRange | None:
    """One entry of an Accept header, or None for one that does not parse and so accepts nothing."""
    name, *parameters = (part.strip().lower() for part in entry.split(";"))
    type_, _, subtype = name.partition("/")
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return None
    if not type_ or not subtype or not 0.0 <= quality <= 1.0:
        return None
    return _MediaRange(type=type_, subtype=subtype, quality=quality)
