"""Compressed bodies, as clients of the Open Inference Protocol send and want them (RFC 9110, section 8.4)."""

import gzip
import zlib
from collections.abc import Callable, Mapping

from ...errors import BodyTooLargeError, MalformedBodyError, MediaTypeError

# zlib's own word for its format with the header of gzip, and with that of zlib, which HTTP calls deflate.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
# Tokens shrink as much by the fastest level, within a few percent.
_LEVEL = 1


def _gzip(content: bytes) -> bytes:
    # Without the time, so that equal replies are equal bytes.
    return gzip.compress(content, _LEVEL, mtime=0)


def _deflate(content: bytes) -> bytes:
    return zlib.compress(content, _LEVEL)


COMPRESSORS: Mapping[str, Callable[[bytes], bytes]] = {"gzip": _gzip, "deflate": _deflate}


def content_encoding(header: str | None) -> str | None:
    """The name of the compression that a Content-Encoding tells of, or None for none.

    Raises:
        MediaTypeError: we do not read it.
    """
    encoding = (header or "identity").strip().lower()
    if encoding == "identity":
        return None
    if encoding not in _WINDOW_BITS:
        raise MediaTypeError(f"Content-Encoding {encoding[:50]!r} is not read; send gzip, deflate or neither")
    return encoding


def decompress(content: bytes, *, encoding: str, max_bytes: int) -> bytes:
    """What `content` is without its compression; at most `max_bytes` come into being.

    Raises:
        MalformedBodyError: it is not compressed like that, or cut off, or has something behind it.
        BodyTooLargeError: it has more than `max_bytes`.
    """
    stream = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = stream.decompress(content, max_bytes + 1)
    except zlib.error as error:
        raise MalformedBodyError(
            f"the body is no {encoding} ({error}); send what {encoding} writes"
        ) from None
    if len(plain) > max_bytes:
        raise BodyTooLargeError(
            f"the body has more than {max_bytes} bytes decompressed, the limit; send less in a request"
        )
    if not stream.eof or stream.unused_data:
        raise MalformedBodyError(
            f"the {encoding} of the body is cut off, or has bytes behind it; send all of it, and only that"
        )
    return plain


def accepted_encoding(header: str | None) -> str | None:
    """The compression of a reply for an Accept-Encoding: gzip before deflate, and none unless it is named."""
    accepted = set()
    for entry in (header or "").lower().split(","):
        name, _, parameter = entry.partition(";")
        if parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            accepted.add(name.strip())
    return next((name for name in COMPRESSORS if name in accepted), None)
