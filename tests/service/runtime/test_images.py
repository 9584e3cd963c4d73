"""Image files of every kind against the pixels they were made from."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ..image_files import decoded, file_of, png_of_16_bit_color


def test_png_and_lossless_webp_are_exact(pixels: np.ndarray) -> None:
    for data in (
        file_of(Image.fromarray(pixels), "PNG"),
        file_of(Image.fromarray(pixels), "WEBP", lossless=True, exact=True),
    ):
        np.testing.assert_array_equal(decoded(data), pixels)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_is_near(photograph: np.ndarray, options: dict[str, Any]) -> None:
    image = decoded(file_of(Image.fromarray(photograph), "JPEG", quality=95, **options))
    assert image.shape == photograph.shape
    assert np.abs(image.astype(int) - photograph).mean() < 6


def test_jpeg_is_what_pillow_reads(photograph: np.ndarray) -> None:
    data = file_of(Image.fromarray(photograph), "JPEG")
    np.testing.assert_array_equal(decoded(data), np.asarray(Image.open(io.BytesIO(data))))


def test_gray_is_the_same_in_all_channels(pixels: np.ndarray) -> None:
    gray = pixels[:, :, 0]
    image = decoded(file_of(Image.fromarray(gray), "PNG"))
    np.testing.assert_array_equal(image, np.stack([gray] * 3, axis=2))
    jpeg = decoded(file_of(Image.new("L", (8, 8), 77), "JPEG"))
    np.testing.assert_array_equal(jpeg, np.full((8, 8, 3), 77))


def test_one_bit() -> None:
    bits = np.array([[True, False], [False, True]])
    image = decoded(file_of(Image.fromarray(bits), "PNG"))
    np.testing.assert_array_equal(image[:, :, 1], [[255, 0], [0, 255]])


def test_palette() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert decoded(file_of(image, "PNG")).tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_cmyk_jpeg() -> None:
    # No ink but full yellow, and no ink at all.
    cmyk = Image.new("CMYK", (16, 8), (0, 0, 255, 0))
    cmyk.paste((0, 0, 0, 0), (8, 0, 16, 8))
    image = decoded(file_of(cmyk, "JPEG", quality=100))
    np.testing.assert_allclose(image[4, 2].astype(int), [255, 255, 0], atol=3)
    np.testing.assert_allclose(image[4, 13].astype(int), [255, 255, 255], atol=3)


@pytest.mark.parametrize("value", [0, 1, 255, 256, 257, 0x80FF, 0xFEFF, 0xFFFF])
def test_16_bit_gray_and_color_keep_their_high_byte(value: int) -> None:
    samples = np.full((4, 5), value, dtype=np.uint16)
    gray = decoded(file_of(Image.fromarray(samples), "PNG"))
    color = decoded(png_of_16_bit_color(np.stack([samples] * 3, axis=2)))
    np.testing.assert_array_equal(gray, np.full((4, 5, 3), value >> 8))
    np.testing.assert_array_equal(color, gray)


def test_an_8_bit_image_widened_to_16_bit_comes_back() -> None:
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    image = decoded(file_of(Image.fromarray(ramp * 257), "PNG"))
    np.testing.assert_array_equal(image[:, :, 0], ramp)


def test_of_an_animation_the_first_frame_counts() -> None:
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    for data in (
        file_of(red, "WEBP", save_all=True, append_images=[blue], lossless=True),
        file_of(red, "PNG", save_all=True, append_images=[blue]),
    ):
        assert decoded(data)[0, 0].tolist() == [255, 0, 0]
