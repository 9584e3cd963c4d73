"""JPEG files: simplejpeg gives the pixels of Pillow, or leaves the file to it."""

import io
from itertools import product
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

from kohonen_tokenizer.service.errors import ImageFormatError, InputError
from kohonen_tokenizer.service.runtime import images, jpeg
from kohonen_tokenizer.service.runtime.images import decode_image
from kohonen_tokenizer.service.runtime.jpeg import decode_jpeg, is_small_jpeg, read_jpeg_header

from ..image_files import decoded, file_of, jpeg_segment, reference

KINDS: dict[str, dict[str, Any]] = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True},
    "optimized": {"optimize": True},
    "RGB": {"keep_rgb": True},
    "restarts": {"restart_marker_blocks": 3},
    "comment": {"comment": b"no pixels"},
    "profile": {"icc_profile": bytes(300)},
    "EXIF": {"exif": Image.Exif()},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_pixels_are_pillows_bit_for_bit(
    photograph: np.ndarray, options: dict[str, Any], mode: str
) -> None:
    sizes = [(1, 1), (7, 9), (8, 8), (16, 15), (17, 33), (80, 120)]
    for quality, (height, width) in product((1, 50, 75, 90, 100), sizes):
        image = Image.fromarray(photograph[:height, :width]).convert(mode)
        data = file_of(image, "JPEG", quality=quality, **options)
        header = read_jpeg_header(data)
        pixels = decode_jpeg(data)
        assert header is not None
        assert pixels is not None
        assert pixels.shape == (header.height, header.width, 3) == (height, width, 3)
        np.testing.assert_array_equal(pixels, reference(data))


def test_an_ordinary_file_never_meets_pillow(photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    data = file_of(photograph, "JPEG")
    expected = reference(data)
    monkeypatch.delattr(jpeg, "JpegImageFile")
    np.testing.assert_array_equal(decoded(data), expected)


def test_of_a_turned_file_pillow_reads_the_header_alone(
    photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    data = file_of(photograph, "JPEG", exif=exif)
    expected = reference(data)[::-1, ::-1]
    monkeypatch.setattr(JpegImageFile, "load", None)
    np.testing.assert_array_equal(decoded(data), expected)


def test_what_simplejpeg_reads_otherwise_is_left_to_pillow(photograph: np.ndarray) -> None:
    cmyk = file_of(Image.fromarray(photograph).convert("CMYK"), "JPEG")
    assert read_jpeg_header(cmyk) is None
    np.testing.assert_array_equal(decoded(cmyk), reference(cmyk))

    # Brightness sampled half as often as color: nobody writes it, and libjpeg reads what little it finds.
    rare = bytearray(file_of(photograph, "JPEG", subsampling=0))
    frame = rare.find(b"\xff\xc0")
    rare[frame + 14] = rare[frame + 17] = 0x21
    assert read_jpeg_header(bytes(rare)) is None
    np.testing.assert_array_equal(decoded(bytes(rare)), reference(bytes(rare)))


def test_a_flaw_that_pillow_forgives_is_forgiven(photograph: np.ndarray) -> None:
    data = file_of(photograph, "JPEG")
    flawed = data[:-2] + b"garbage" + data[-2:]
    assert decode_jpeg(flawed) is None
    np.testing.assert_array_equal(decoded(flawed), decoded(data))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["4:2:0", "progressive", "EXIF"])
def test_on_damaged_files_the_verdict_is_pillows(
    photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = file_of(photograph[:32, :40], "JPEG", **KINDS[kind])
    random = np.random.default_rng(0)
    files = [data[:length] for length in range(3, len(data), 23)]
    for _ in range(300):
        damaged = bytearray(data)
        for position in random.integers(3, len(data), size=2):
            damaged[position] = random.choice([0x00, 0xD9, 0xDA, 0xE1, 0xFF, random.integers(256)])
        files.append(bytes(damaged))

    verdicts = [_verdict(file) for file in files]
    monkeypatch.setattr(images, "read_jpeg_header", lambda data: None)
    assert verdicts == [_verdict(file) for file in files]
    assert len(set(verdicts)) > 50


def _verdict(data: bytes) -> bytes | str:
    try:
        return decode_image(data, max_pixels=10**6).tobytes()
    except InputError as error:
        return error.code


def test_the_number_of_scans_is_bounded(photograph: np.ndarray) -> None:
    # What looks like scans counts, wherever it stands, and also in a file that Pillow does not see.
    for mode, options in (("RGB", {"progressive": True}), ("CMYK", {}), ("RGB", {})):
        data = file_of(Image.fromarray(photograph).convert(mode), "JPEG", **options)
        num_more = 100 - data.count(b"\xff\xda")
        most = data[:2] + jpeg_segment(0xFE, b"\xff\xda" * num_more) + data[2:]
        too_many = data[:2] + jpeg_segment(0xFE, b"\xff\xda" * (num_more + 1)) + data[2:]
        np.testing.assert_array_equal(decoded(most), reference(data))
        with pytest.raises(ImageFormatError, match="101 scans, the limit is 100"):
            decoded(too_many)


@pytest.mark.parametrize(
    ("image_format", "size", "options", "is_small"),
    [
        ("JPEG", (512, 512), {}, True),
        ("JPEG", (513, 512), {}, False),
        ("JPEG", (32, 32), {"progressive": True}, False),
        ("PNG", (32, 32), {}, False),
    ],
)
def test_only_an_ordinary_jpeg_of_few_pixels_is_small(
    image_format: str, size: tuple[int, int], options: dict[str, Any], is_small: bool
) -> None:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, image_format, **options)
    assert is_small_jpeg(file.getvalue()) == is_small
    assert not is_small_jpeg(file.getvalue()[:20])
