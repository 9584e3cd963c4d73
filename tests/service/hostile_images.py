"""Image files that a service meets in the wild or in an attack, each with the answer that it must get.

Most are made here, from a part of a photograph or from a few pixels, so that their answers are known.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageCms
from sklearn.datasets import load_sample_images

from kohonen_tokenizer.service.errors import (
    ImageDecodeError,
    ImageFormatError,
    ImagePixelsError,
    InputError,
)

from .image_files import (
    COLOR,
    GRAY,
    GRAY_ALPHA,
    UPRIGHT,
    chunk,
    file_of,
    interlaced_png,
    jpeg_segment,
    png_by_hand,
    png_of_16_bit_color,
    reference,
    webp_of_claimed_size,
    with_frame_size,
)

MAX_PIXELS = 100_000
"""The limit under which the answers hold."""


@dataclass(frozen=True)
class HostileImage:
    """A file and its answer: pixels uint8 [H, W, 3], each sample within `tolerance`, or an error."""

    name: str
    data: bytes
    answer: np.ndarray | type[InputError]
    media_type: str = "image/jpeg"
    """What its sender claims, whatever it is."""
    tolerance: int = 0


def hostile_images() -> list[HostileImage]:
    """The corpus."""
    photograph: np.ndarray = load_sample_images().images[0][100:140, 200:256]
    return [
        *_truncated(photograph),
        *_too_large(),
        *_of_odd_sizes(photograph),
        *_not_what_they_claim(photograph),
        *_turned(photograph),
        *_jpegs(photograph),
        *_pngs(photograph),
        *_webps(photograph),
    ]


def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _truncated(photograph: np.ndarray) -> Iterator[HostileImage]:
    files = {
        "JPEG": file_of(photograph, "JPEG"),
        "progressive JPEG": file_of(photograph, "JPEG", progressive=True),
        "JPEG with EXIF": file_of(photograph, "JPEG", exif=Image.Exif()),
        "CMYK JPEG": file_of(Image.fromarray(photograph).convert("CMYK"), "JPEG"),
        "PNG": file_of(photograph, "PNG"),
        "interlaced PNG": interlaced_png(photograph),
        "WebP": file_of(photograph, "WEBP"),
        "lossless WebP": file_of(photograph, "WEBP", lossless=True),
    }
    for name, data in files.items():
        for length in (12, 30, len(data) // 4, len(data) // 2, len(data) * 9 // 10):
            yield HostileImage(f"{name} cut after {length} bytes", data[:length], ImageDecodeError)
    # All pixels are there: Pillow, the reference, asks for the end of a JPEG and not for that of a PNG.
    yield HostileImage("JPEG without its end", files["JPEG"][:-2], ImageDecodeError)
    yield HostileImage("PNG without its end", files["PNG"][:-12], photograph)
    yield HostileImage("WebP without its last byte", files["WebP"][:-1], ImageDecodeError)
    yield HostileImage("nothing", b"", ImageDecodeError)


def _too_large() -> Iterator[HostileImage]:
    small = {name: file_of(Image.new("RGB", (16, 16)), name) for name in ("JPEG", "PNG", "WEBP")}
    progressive = file_of(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    for name, jpeg in (("JPEG", small["JPEG"]), ("progressive JPEG", progressive)):
        for side in (317, 65_500):
            data = with_frame_size(jpeg, height=side, width=side)
            yield HostileImage(f"{name} that claims a side of {side}", data, ImagePixelsError)
    for side in (317, 100_000, 2**31 - 1):
        data = png_by_hand([b""], width=side, height=side, bits=8, color_type=COLOR)
        yield HostileImage(f"PNG that claims a side of {side}", data, ImagePixelsError)
    for side in (317, 16_383):
        data = webp_of_claimed_size(width=side, height=side)
        yield HostileImage(f"WebP that claims a side of {side}", data, ImagePixelsError)
    yield HostileImage(
        "PNG of the most pixels", file_of(Image.new("1", (1000, 100)), "PNG"), np.zeros((100, 1000, 3))
    )
    # 32 MB of zeros where 8 rows are due, and where a comment is.
    zeros = bytes(2**25)
    data = png_by_hand([], width=8, height=8, bits=8, color_type=COLOR, pixels=zeros)
    yield HostileImage("PNG whose pixels go on and on", data, np.zeros((8, 8, 3)))
    comment = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(zeros))
    yield HostileImage(
        "PNG with an endless comment", small["PNG"][:33] + comment + small["PNG"][33:], ImageDecodeError
    )
    # The last scan again and again: 33 bytes each, and every one a pass over all pixels.
    scan = progressive[progressive.rfind(b"\xff\xda") : -2]
    data = progressive[:-2] + scan * 5000 + progressive[-2:]
    yield HostileImage("progressive JPEG of 5000 scans", data, ImageFormatError)
    sequential = small["JPEG"]
    scan = sequential[sequential.rfind(b"\xff\xda") : -2]
    yield HostileImage("sequential JPEG of 5000 scans", sequential[:-2] + scan * 5000, ImageFormatError)


def _of_odd_sizes(photograph: np.ndarray) -> Iterator[HostileImage]:
    jpeg, webp = file_of(photograph, "JPEG"), bytearray(file_of(photograph, "WEBP"))
    for height, width in ((0, 0), (0, 56), (40, 0)):
        png = png_by_hand([], width=width, height=height, bits=8, color_type=COLOR)
        yield HostileImage(f"PNG of {width} x {height}", png, ImageDecodeError)
        empty = with_frame_size(jpeg, height=height, width=width)
        yield HostileImage(f"JPEG of {width} x {height}", empty, ImageDecodeError)
    webp[26:30] = bytes(4)
    yield HostileImage("WebP of 0 x 0", bytes(webp), ImageDecodeError)
    for height, width in ((1, 1), (1, 16_000), (16_000, 1), (1, 30_000), (30_000, 1)):
        pixels = np.resize(photograph, (height, width, 3))
        yield HostileImage(f"PNG of {width} x {height}", file_of(pixels, "PNG"), pixels)
        jpeg = file_of(pixels, "JPEG")
        yield HostileImage(f"JPEG of {width} x {height}", jpeg, reference(jpeg))
        if max(height, width) < 16_384:
            yield HostileImage(f"WebP of {width} x {height}", file_of(pixels, "WEBP", lossless=True), pixels)


def _not_what_they_claim(photograph: np.ndarray) -> Iterator[HostileImage]:
    yield HostileImage("PNG called JPEG", file_of(photograph, "PNG"), photograph, media_type="image/jpeg")
    webp = file_of(photograph, "WEBP", lossless=True)
    yield HostileImage("WebP called PNG", webp, photograph, media_type="image/png")
    jpeg = file_of(photograph, "JPEG")
    yield HostileImage("JPEG called WebP", jpeg, reference(jpeg), media_type="image/webp")
    for image_format in ("GIF", "BMP", "TIFF", "ICO", "PPM"):
        yield HostileImage(image_format, file_of(photograph, image_format), ImageFormatError)
    texts = {
        "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "HTML": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
        "text": b"hello",
        "PDF": b"%PDF-1.7\n",
        "zip": b"PK\x03\x04" + bytes(40),
        "HEIC": b"\0\0\0\x18ftypheic" + bytes(40),
        "WAV": b"RIFF\x10\0\0\0WAVEfmt ",
        "two bytes of a JPEG": b"\xff\xd8",
        "zero": b"\0",
    }
    for name, data in texts.items():
        yield HostileImage(name, data, ImageFormatError)
    for name, magic in (
        ("JPEG", b"\xff\xd8\xff"),
        ("PNG", b"\x89PNG\r\n\x1a\n"),
        ("WebP", b"RIFF\x40\0\0\0WEBP"),
    ):
        yield HostileImage(f"HTML that begins like a {name}", magic + texts["HTML"], ImageDecodeError)
    yield HostileImage("JPEG after a line break", b"\n" + jpeg, ImageFormatError)


def _turned(photograph: np.ndarray) -> Iterator[HostileImage]:
    plain = reference(file_of(photograph, "JPEG"))
    for orientation, turn in {0: UPRIGHT[1], **UPRIGHT, 9: UPRIGHT[1]}.items():
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        for image_format, stored in (("PNG", photograph), ("WEBP", photograph), ("JPEG", plain)):
            options = {"lossless": True} if image_format == "WEBP" else {}
            data = file_of(photograph, image_format, exif=exif, **options)
            yield HostileImage(f"{image_format} of orientation {orientation}", data, turn(stored))
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    yield HostileImage("JPEG turned by XMP", file_of(photograph, "JPEG", xmp=xmp), UPRIGHT[8](plain))
    data = file_of(photograph, "JPEG", exif=b"Exif\0\0no tags in here")
    yield HostileImage("JPEG whose EXIF is none", data, plain)


def _jpegs(photograph: np.ndarray) -> Iterator[HostileImage]:
    jpeg = file_of(photograph, "JPEG")
    pixels = reference(jpeg)
    yield HostileImage("JPEG, then garbage", jpeg + b"garbage" * 1000, pixels)
    yield HostileImage("JPEG, then another", jpeg + file_of(photograph[::-1], "JPEG"), pixels)
    yield HostileImage("JPEG with garbage before its end", jpeg[:-2] + b"garbage" + jpeg[-2:], pixels)
    yield HostileImage(
        "JPEG with a color profile", file_of(photograph, "JPEG", icc_profile=_profile()), pixels
    )
    yield HostileImage("JPEG with fill bytes", jpeg[:2] + b"\xff" * 9 + jpeg[2:], pixels)
    yield HostileImage(
        "JPEG with an unknown segment", jpeg[:2] + jpeg_segment(0xEB, b"box") + jpeg[2:], pixels
    )
    thumbnail = jpeg_segment(0xE2, b"thumbnail\0" + jpeg)
    yield HostileImage("JPEG with one inside", jpeg[:2] + thumbnail + jpeg[2:], pixels)

    # Saved with the standard's tables, which decoders know.
    tables, scan = jpeg.find(b"\xff\xc4"), jpeg.find(b"\xff\xda")
    yield HostileImage("JPEG without Huffman tables", jpeg[:tables] + jpeg[scan:], pixels)
    wrong = bytearray(jpeg)
    wrong[tables + 5 : tables + 21] = b"\xff" * 16
    yield HostileImage("JPEG with impossible Huffman tables", bytes(wrong), ImageDecodeError)
    wrong = bytearray(jpeg)
    wrong[tables + 21 : tables + 25] = wrong[tables + 21 : tables + 25][::-1]
    yield HostileImage("JPEG with other Huffman tables", bytes(wrong), reference(bytes(wrong)))
    damaged = bytearray(jpeg)
    damaged[scan + 200 : scan + 220] = bytes(20)
    yield HostileImage("JPEG with zeros among its pixels", bytes(damaged), reference(bytes(damaged)))

    for name, options in {
        "progressive": {"progressive": True},
        "progressive with restarts": {"progressive": True, "restart_marker_blocks": 2},
        "with restarts": {"restart_marker_rows": 1},
        "of full color": {"subsampling": 0},
        "of half color": {"subsampling": 1},
        "of RGB": {"keep_rgb": True},
        "of the worst quality": {"quality": 1},
        "of the best quality": {"quality": 100},
    }.items():
        data = file_of(photograph, "JPEG", **options)
        yield HostileImage(f"JPEG {name}", data, reference(data))
    gray = file_of(Image.fromarray(photograph).convert("L"), "JPEG")
    yield HostileImage("gray JPEG", gray, reference(gray))

    # Full yellow ink alone.
    yellow = file_of(Image.new("CMYK", (16, 16), (0, 0, 255, 0)), "JPEG", quality=100)
    yield HostileImage("CMYK JPEG", yellow, np.full((16, 16, 3), (255, 255, 0)), tolerance=3)
    # Adobe stores the inverse: 76, 85, 255 and no black. As YCC that is red, whose inverse is cyan.
    stored = bytearray(file_of(Image.new("CMYK", (16, 16), (179, 170, 0, 0)), "JPEG", quality=100))
    transform = stored.find(b"Adobe") + 11
    assert stored[transform] == 0
    stored[transform] = 2
    yield HostileImage("YCCK JPEG", bytes(stored), np.full((16, 16, 3), (0, 255, 255)), tolerance=3)


def _pngs(photograph: np.ndarray) -> Iterator[HostileImage]:
    png = file_of(photograph, "PNG")
    yield HostileImage("PNG, then garbage", png + b"garbage" * 1000, photograph)
    yield HostileImage("interlaced PNG", interlaced_png(photograph), photograph)
    yield HostileImage(
        "PNG with a color profile", file_of(photograph, "PNG", icc_profile=_profile()), photograph
    )
    yield HostileImage("PNG of a wrong checksum", png[:29] + b"sum?" + png[33:], ImageDecodeError)
    frames = [Image.fromarray(photograph), Image.fromarray(photograph[::-1])]
    animated = file_of(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield HostileImage("animated PNG", animated, photograph)

    samples = np.arange(0, 60_000, 625, dtype=np.uint16).reshape(8, 12)
    high = (samples >> 8)[:, :, np.newaxis]
    yield HostileImage("16-bit gray PNG", file_of(samples, "PNG"), np.repeat(high, 3, axis=2))
    color = np.stack([samples, samples[::-1], samples[:, ::-1]], axis=2)
    yield HostileImage("16-bit color PNG", png_of_16_bit_color(color), color >> 8)
    transparent = png_of_16_bit_color(color, transparent=color[0, 0].astype(">u2").tobytes())
    yield HostileImage("16-bit color PNG with one transparent", transparent, ImageFormatError)
    rows = [np.stack([row, np.full_like(row, 65_535)], axis=1).astype(">u2").tobytes() for row in samples]
    opaque = png_by_hand(rows, width=12, bits=16, color_type=GRAY_ALPHA)
    yield HostileImage("16-bit gray PNG with alpha", opaque, np.repeat(high, 3, axis=2))

    bits = np.arange(64).reshape(8, 8) % 3 == 0
    black_and_white = np.repeat(255 * bits[:, :, np.newaxis], 3, axis=2)
    yield HostileImage("1-bit PNG", file_of(bits, "PNG"), black_and_white)
    four = png_by_hand([b"\x0f\x80"], width=4, bits=4, color_type=GRAY)
    yield HostileImage("4-bit gray PNG", four, np.repeat([[[0], [255], [136], [0]]], 3, axis=2))

    palette = Image.new("P", (3, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
    palette.putdata([0, 1, 2])
    colors = np.array([[[10, 20, 30], [200, 100, 50], [0, 0, 0]]])
    yield HostileImage("palette PNG", file_of(palette, "PNG"), colors)
    seen = np.array([[[10, 20, 30], [255, 255, 255], [0, 0, 0]]])
    data = file_of(palette, "PNG", transparency=bytes([255, 0, 255]))
    yield HostileImage("palette PNG with transparency", data, seen)
    gray_alpha = np.array([[[100, 255], [100, 0]]], dtype=np.uint8)
    over_white = np.array([[[100, 100, 100], [255, 255, 255]]])
    yield HostileImage("gray PNG with alpha", file_of(gray_alpha, "PNG"), over_white)


def _webps(photograph: np.ndarray) -> Iterator[HostileImage]:
    webp = file_of(photograph, "WEBP", lossless=True)
    yield HostileImage("WebP, then garbage", webp + b"garbage" * 1000, photograph)
    lossy = file_of(photograph, "WEBP")
    yield HostileImage("lossy WebP", lossy, reference(lossy))
    profiled = file_of(photograph, "WEBP", lossless=True, icc_profile=_profile())
    yield HostileImage("WebP with a color profile", profiled, photograph)
    frames = [Image.fromarray(photograph), Image.fromarray(photograph[::-1])]
    animated = file_of(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    yield HostileImage("animated WebP", animated, photograph)
    rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 0]]], dtype=np.uint8)
    seen = np.array([[[200, 0, 0], [255, 255, 255]]])
    yield HostileImage("WebP with alpha", file_of(rgba, "WEBP", lossless=True, exact=True), seen)
