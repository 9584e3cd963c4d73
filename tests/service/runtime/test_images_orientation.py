"""Images that are stored turned or mirrored come out upright."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from ..image_files import UPRIGHT, decoded, file_of


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_exif_orientation_is_applied(pixels: np.ndarray, orientation: int, image_format: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = file_of(Image.fromarray(pixels), image_format, exif=exif, **options)
    np.testing.assert_array_equal(decoded(data), UPRIGHT[orientation](pixels))


def test_a_jpeg_from_a_turned_camera(photograph: np.ndarray) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = decoded(file_of(Image.fromarray(photograph), "JPEG", exif=exif))
    plain = decoded(file_of(Image.fromarray(photograph), "JPEG"))
    assert turned.shape == (120, 80, 3)
    np.testing.assert_array_equal(turned, np.rot90(plain, k=-1))


def test_16_bit_gray_is_turned_too() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    samples = np.array([[0x1000, 0x2000, 0x3000]], dtype=np.uint16)
    image = decoded(file_of(Image.fromarray(samples), "PNG", exif=exif))
    assert image[0, :, 0].tolist() == [0x30, 0x20, 0x10]


def test_exif_that_is_no_exif_says_nothing(photograph: np.ndarray) -> None:
    image = Image.fromarray(photograph)
    damaged = decoded(file_of(image, "JPEG", exif=b"Exif\0\0no tags in here"))
    np.testing.assert_array_equal(damaged, decoded(file_of(image, "JPEG")))
