"""Image files: of any kind that Pillow writes, and PNG files of the kinds that it only reads."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from kohonen_tokenizer.service.runtime.images import decode_image

GRAY, COLOR, PALETTE, GRAY_ALPHA, COLOR_ALPHA = 0, 2, 3, 4, 6
"""Color types of PNG."""

# What brings the stored rows and columns upright, by the definitions of EXIF 2.32, 4.6.4.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}

# The seven passes of an interlaced PNG: first row, first column, step of rows, step of columns.
_PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def file_of(image: Image.Image | np.ndarray, image_format: str, **options: Any) -> bytes:
    """`image` as Pillow saves it."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format=image_format, **options)
    return file.getvalue()


def reference(data: bytes) -> np.ndarray:
    """What Pillow reads from the file, as stored: uint8 [H, W, 3]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def decoded(data: bytes) -> np.ndarray:
    """What the service reads from the file, upright: uint8 [H, W, 3]."""
    image = decode_image(data, max_pixels=10_000)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    return image


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_by_hand(
    rows: list[bytes],
    *,
    width: int,
    bits: int,
    color_type: int,
    transparent: bytes = b"",
    pixels: bytes | None = None,
    height: int | None = None,
    interlaced: bool = False,
) -> bytes:
    """A PNG from its packed rows and its tRNS chunk, or from what its IDAT chunk is to hold unpacked."""
    height = len(rows) if height is None else height
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, interlaced)
    unpacked = b"".join(b"\0" + row for row in rows) if pixels is None else pixels
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(unpacked))
        + chunk(b"IEND", b"")
    )


def png_of_16_bit_color(samples: np.ndarray, *, transparent: bytes = b"") -> bytes:
    """A PNG of uint16 [H, W, 3]."""
    rows = [row.astype(">u2").tobytes() for row in samples]
    return png_by_hand(rows, width=samples.shape[1], bits=16, color_type=COLOR, transparent=transparent)


def interlaced_png(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 [H, W, 3] in seven passes."""
    height, width, _ = pixels.shape
    passes = [pixels[row::row_step, column::step] for row, column, row_step, step in _PASSES]
    unpacked = b"".join(b"\0" + row.tobytes() for part in passes if part.size for row in part)
    return png_by_hand(
        [], width=width, height=height, bits=8, color_type=COLOR, pixels=unpacked, interlaced=True
    )


def jpeg_segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def with_frame_size(jpeg: bytes, *, height: int, width: int) -> bytes:
    """`jpeg` with another size in its frame header."""
    start = max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2"))
    return jpeg[: start + 5] + struct.pack(">HH", height, width) + jpeg[start + 9 :]


def riff_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a WebP."""
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def webp_of_claimed_size(*, width: int, height: int) -> bytes:
    """A WebP animation of this size by its header, whose one frame is one pixel."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    pixel = file_of(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    body = (
        b"WEBP"
        + riff_chunk(b"VP8X", b"\2\0\0\0" + size)
        + riff_chunk(b"ANIM", bytes(6))
        + riff_chunk(b"ANMF", bytes(16) + pixel)
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body
