"""Transparency is laid over white."""

import struct

import numpy as np
import pytest
from PIL import Image

from kohonen_tokenizer.service.errors import ImageFormatError

from ..image_files import GRAY, decoded, file_of, png_by_hand, png_of_16_bit_color


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_alpha_is_laid_over_white(image_format: str) -> None:
    rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 128]]], dtype=np.uint8)
    options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
    image = decoded(file_of(Image.fromarray(rgba), image_format, **options))
    assert image[0, 0].tolist() == [200, 0, 0]
    assert image[0, 1].tolist() == [255, 255, 255]
    share = 128 / 255
    expected = [200 * share + 255 * (1 - share), 255 * (1 - share), 255 * (1 - share)]
    np.testing.assert_allclose(image[0, 2], expected, atol=1)


def test_gray_with_alpha() -> None:
    la = np.array([[[100, 255], [100, 0]]], dtype=np.uint8)
    assert decoded(file_of(Image.fromarray(la), "PNG"))[0].tolist() == [[100] * 3, [255] * 3]


def test_palette_with_transparency() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
    image.putdata([0, 1, 2])
    data = file_of(image, "PNG", transparency=bytes([255, 0, 255]))
    assert decoded(data)[0].tolist() == [[10, 20, 30], [255, 255, 255], [0, 0, 0]]


def test_one_color_declared_transparent() -> None:
    rgb = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    data = file_of(Image.fromarray(rgb), "PNG", transparency=(4, 5, 6))
    assert decoded(data)[0].tolist() == [[1, 2, 3], [255, 255, 255]]


def test_one_16_bit_gray_declared_transparent() -> None:
    # They share the high byte; only one of them is the transparent one.
    samples = np.array([[0x1200, 0x1234]], dtype=np.uint16)
    data = file_of(Image.fromarray(samples), "PNG", transparency=0x1234)
    assert decoded(data)[0].tolist() == [[0x12] * 3, [255] * 3]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_one_gray_of_few_bits_declared_transparent(bits: int) -> None:
    # As many of the darkest grays as fill one byte, each in its turn the transparent one.
    width = 8 // bits
    grays = [min(value, 2**bits - 1) for value in range(width)]
    packed = sum(gray << 8 - bits * (place + 1) for place, gray in enumerate(grays))
    for transparent in set(grays):
        data = png_by_hand(
            [bytes([packed])],
            width=width,
            bits=bits,
            color_type=GRAY,
            transparent=struct.pack(">H", transparent),
        )
        over_white = [255 if gray == transparent else gray * 255 // (2**bits - 1) for gray in grays]
        assert decoded(data)[0, :, 0].tolist() == over_white


def test_one_16_bit_color_declared_transparent_is_refused() -> None:
    # Only the first is transparent, and in 8 bits the two are one color.
    samples = np.array([[[0x1201, 0x3402, 0x5603], [0x1204, 0x3405, 0x5606]]], dtype=np.uint16)
    data = png_of_16_bit_color(samples, transparent=samples[0, 0].astype(">u2").tobytes())
    with pytest.raises(ImageFormatError, match="16-bit color and declares one color transparent"):
        decoded(data)
