"""What is no image, or none that may be decoded, is the sender's error in one line."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kohonen_tokenizer.service.errors import (
    ImageDecodeError,
    ImageFormatError,
    ImagePixelsError,
    InputError,
)
from kohonen_tokenizer.service.runtime.images import decode_image

from ..image_files import decoded, file_of


def test_no_bytes() -> None:
    with pytest.raises(ImageDecodeError, match="0 bytes"):
        decoded(b"")


@pytest.mark.parametrize("image_format", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats(image_format: str) -> None:
    with pytest.raises(ImageFormatError, match="no JPEG, PNG or WebP"):
        decoded(file_of(Image.new("RGB", (16, 16)), image_format))


def test_an_animated_gif() -> None:
    frames = [Image.new("P", (4, 4), color) for color in (1, 2)]
    with pytest.raises(ImageFormatError, match="begins with 474946383"):
        decoded(file_of(frames[0], "GIF", save_all=True, append_images=frames[1:]))


@pytest.mark.parametrize("data", [b"hello", b"\0", b"<svg/>", b"RIFF\x10\0\0\0WAVE", b"\xff\xd8"])
def test_what_is_no_image(data: bytes) -> None:
    with pytest.raises(ImageFormatError, match=data[:8].hex()):
        decoded(data)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(photograph: np.ndarray, image_format: str, share: float) -> None:
    data = file_of(Image.fromarray(photograph), image_format)
    with pytest.raises(ImageDecodeError, match=f"the {image_format} image does not decode"):
        decoded(data[: int(share * len(data))])


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_nothing_but_a_signature(photograph: np.ndarray, image_format: str) -> None:
    data = file_of(Image.fromarray(photograph), image_format)[:12]
    with pytest.raises(ImageDecodeError, match=f"the {image_format} image does not decode"):
        decoded(data)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_the_pixel_limit_is_exact(image_format: str) -> None:
    data = file_of(Image.new("RGB", (100, 50)), image_format)
    assert decode_image(data, max_pixels=5000).shape == (50, 100, 3)
    with pytest.raises(ImagePixelsError, match="100 x 50, 5000 pixels, and the limit is 4999"):
        decode_image(data, max_pixels=4999)


def test_a_png_that_claims_more_than_it_holds_is_refused_by_its_header() -> None:
    # 10^10 pixels in a file of 70 bytes: were it decoded first, this would be "truncated".
    data = bytearray(file_of(Image.new("RGB", (1, 1)), "PNG"))
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    for max_pixels in (10_000, 2**28):
        with pytest.raises(ImagePixelsError, match="100000 x 100000"):
            decode_image(bytes(data), max_pixels=max_pixels)


def test_a_webp_beyond_what_pillow_itself_allows_is_refused_alike() -> None:
    data = bytearray(file_of(Image.new("RGB", (1, 1)), "WEBP", lossless=True))
    assert data[12:16] == b"VP8L"
    data[21:24] = b"\xff\xff\xff"  # 14 bits of width - 1 and 10 of height - 1: 16384 x 4096
    data[24] |= 0x0F  # the other 4 bits of height: 16384 x 16384
    with pytest.raises(ImagePixelsError, match="the limit is 10000"):
        decoded(bytes(data))


def test_above_pillows_own_warning_limit_the_error_is_ours() -> None:
    # More than Pillow's own warning limit, 89 million pixels; one bit each, so that it stays small here.
    data = file_of(Image.new("1", (9600, 9600)), "PNG")
    with pytest.raises(ImagePixelsError, match="92160000 pixels"):
        decode_image(data, max_pixels=89_000_000)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_random_damage_decodes_or_is_the_senders_error(photograph: np.ndarray, image_format: str) -> None:
    data = file_of(Image.fromarray(photograph[:40, :40]), image_format)
    random = np.random.default_rng(0)
    refusals = []
    for _ in range(200):
        damaged = bytearray(data)
        for position in random.integers(0, len(data), size=4):
            damaged[position] = random.integers(0, 256)
        try:
            decoded(bytes(damaged))
        except InputError as error:
            refusals.append(str(error))
    assert refusals
    assert not [refusal for refusal in refusals if "\n" in refusal]
