"""Image files of every kind that Pillow can write, generated here, against the pixels they were made from."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import ExifTags, Image
from sklearn.datasets import load_sample_images

from kohonen_tokenizer.service.errors import (
    ImageDecodeError,
    ImageFormatError,
    ImagePixelsError,
    ImageSizeError,
    InputError,
    ParameterError,
    PixelsError,
)
from kohonen_tokenizer.service.runtime.images import decode_image, encode_png, fit

MAX_PIXELS = 10_000


def file_of(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=image_format, **options)
    return file.getvalue()


def decode(data: bytes) -> np.ndarray:
    image = decode_image(data, max_pixels=MAX_PIXELS)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    return image


@pytest.fixture
def pixels() -> np.ndarray:
    """uint8 [6, 9, 3], all different."""
    return np.random.default_rng(0).permutation(6 * 9 * 3).astype(np.uint8).reshape(6, 9, 3)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """A real image: uint8 [80, 120, 3] of a photograph."""
    photo: np.ndarray = load_sample_images().images[0][100:180, 200:320]
    return photo


class TestFormats:
    def test_png_and_lossless_webp_are_exact(self, pixels: np.ndarray) -> None:
        for data in (
            file_of(Image.fromarray(pixels), "PNG"),
            file_of(Image.fromarray(pixels), "WEBP", lossless=True, exact=True),
        ):
            np.testing.assert_array_equal(decode(data), pixels)

    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
    def test_jpeg_is_near(self, photograph: np.ndarray, options: dict[str, Any]) -> None:
        image = decode(file_of(Image.fromarray(photograph), "JPEG", quality=95, **options))
        assert image.shape == photograph.shape
        assert np.abs(image.astype(int) - photograph).mean() < 6

    def test_jpeg_is_what_pillow_reads(self, photograph: np.ndarray) -> None:
        data = file_of(Image.fromarray(photograph), "JPEG")
        np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data))))

    def test_gray_is_the_same_in_all_channels(self, pixels: np.ndarray) -> None:
        gray = pixels[:, :, 0]
        image = decode(file_of(Image.fromarray(gray), "PNG"))
        np.testing.assert_array_equal(image, np.stack([gray] * 3, axis=2))
        jpeg = decode(file_of(Image.new("L", (8, 8), 77), "JPEG"))
        np.testing.assert_array_equal(jpeg, np.full((8, 8, 3), 77))

    def test_one_bit(self) -> None:
        bits = np.array([[True, False], [False, True]])
        image = decode(file_of(Image.fromarray(bits), "PNG"))
        np.testing.assert_array_equal(image[:, :, 1], [[255, 0], [0, 255]])

    def test_palette(self) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 200, 100, 50])
        image.putpixel((1, 0), 1)
        assert decode(file_of(image, "PNG")).tolist() == [[[10, 20, 30], [200, 100, 50]]]

    def test_cmyk_jpeg(self) -> None:
        # No ink but full yellow, and no ink at all.
        cmyk = Image.new("CMYK", (16, 8), (0, 0, 255, 0))
        cmyk.paste((0, 0, 0, 0), (8, 0, 16, 8))
        image = decode(file_of(cmyk, "JPEG", quality=100))
        np.testing.assert_allclose(image[4, 2].astype(int), [255, 255, 0], atol=3)
        np.testing.assert_allclose(image[4, 13].astype(int), [255, 255, 255], atol=3)

    @pytest.mark.parametrize("value", [0, 1, 255, 256, 257, 0x80FF, 0xFEFF, 0xFFFF])
    def test_16_bit_gray_and_color_keep_their_high_byte(self, value: int) -> None:
        samples = np.full((4, 5), value, dtype=np.uint16)
        gray = decode(file_of(Image.fromarray(samples), "PNG"))
        color = decode(png_of_16_bit_color(np.stack([samples] * 3, axis=2)))
        np.testing.assert_array_equal(gray, np.full((4, 5, 3), value >> 8))
        np.testing.assert_array_equal(color, gray)

    def test_an_8_bit_image_widened_to_16_bit_comes_back(self) -> None:
        ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
        image = decode(file_of(Image.fromarray(ramp * 257), "PNG"))
        np.testing.assert_array_equal(image[:, :, 0], ramp)

    def test_of_an_animation_the_first_frame_counts(self) -> None:
        red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
        for data in (
            file_of(red, "WEBP", save_all=True, append_images=[blue], lossless=True),
            file_of(red, "PNG", save_all=True, append_images=[blue]),
        ):
            assert decode(data)[0, 0].tolist() == [255, 0, 0]


def png_by_hand(rows: list[bytes], *, width: int, bits: int, color: bool, transparent: bytes = b"") -> bytes:
    """A PNG of a kind that Pillow reads and does not write, from its packed rows and its tRNS chunk."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, 2 if color else 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + chunk(b"IEND", b"")
    )


def png_of_16_bit_color(samples: np.ndarray, *, transparent: bytes = b"") -> bytes:
    """A PNG of uint16 [H, W, 3]."""
    rows = [row.astype(">u2").tobytes() for row in samples]
    return png_by_hand(rows, width=samples.shape[1], bits=16, color=True, transparent=transparent)


class TestTransparency:
    @pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
    def test_alpha_is_laid_over_white(self, image_format: str) -> None:
        rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 128]]], dtype=np.uint8)
        options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
        image = decode(file_of(Image.fromarray(rgba), image_format, **options))
        assert image[0, 0].tolist() == [200, 0, 0]
        assert image[0, 1].tolist() == [255, 255, 255]
        share = 128 / 255
        expected = [200 * share + 255 * (1 - share), 255 * (1 - share), 255 * (1 - share)]
        np.testing.assert_allclose(image[0, 2], expected, atol=1)

    def test_gray_with_alpha(self) -> None:
        la = np.array([[[100, 255], [100, 0]]], dtype=np.uint8)
        assert decode(file_of(Image.fromarray(la), "PNG"))[0].tolist() == [[100] * 3, [255] * 3]

    def test_palette_with_transparency(self) -> None:
        image = Image.new("P", (3, 1))
        image.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
        image.putdata([0, 1, 2])
        data = file_of(image, "PNG", transparency=bytes([255, 0, 255]))
        assert decode(data)[0].tolist() == [[10, 20, 30], [255, 255, 255], [0, 0, 0]]

    def test_one_color_declared_transparent(self) -> None:
        rgb = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
        data = file_of(Image.fromarray(rgb), "PNG", transparency=(4, 5, 6))
        assert decode(data)[0].tolist() == [[1, 2, 3], [255, 255, 255]]

    def test_one_16_bit_gray_declared_transparent(self) -> None:
        # They share the high byte; only one of them is the transparent one.
        samples = np.array([[0x1200, 0x1234]], dtype=np.uint16)
        data = file_of(Image.fromarray(samples), "PNG", transparency=0x1234)
        assert decode(data)[0].tolist() == [[0x12] * 3, [255] * 3]

    @pytest.mark.parametrize("bits", [1, 2, 4, 8])
    def test_one_gray_of_few_bits_declared_transparent(self, bits: int) -> None:
        # As many of the darkest grays as fill one byte, each in its turn the transparent one.
        width = 8 // bits
        grays = [min(value, 2**bits - 1) for value in range(width)]
        packed = sum(gray << 8 - bits * (place + 1) for place, gray in enumerate(grays))
        for transparent in set(grays):
            data = png_by_hand(
                [bytes([packed])],
                width=width,
                bits=bits,
                color=False,
                transparent=struct.pack(">H", transparent),
            )
            over_white = [255 if gray == transparent else gray * 255 // (2**bits - 1) for gray in grays]
            assert decode(data)[0, :, 0].tolist() == over_white

    def test_one_16_bit_color_declared_transparent_is_refused(self) -> None:
        # Only the first is transparent, and in 8 bits the two are one color.
        samples = np.array([[[0x1201, 0x3402, 0x5603], [0x1204, 0x3405, 0x5606]]], dtype=np.uint16)
        data = png_of_16_bit_color(samples, transparent=samples[0, 0].astype(">u2").tobytes())
        with pytest.raises(ImageFormatError, match="16-bit color and declares one color transparent"):
            decode(data)


class TestOrientation:
    # What brings the stored rows and columns upright, by the definitions of EXIF 2.32, 4.6.4.
    UPRIGHT: ClassVar[dict[int, Callable[[np.ndarray], np.ndarray]]] = {
        1: lambda stored: stored,
        2: lambda stored: stored[:, ::-1],
        3: lambda stored: stored[::-1, ::-1],
        4: lambda stored: stored[::-1],
        5: lambda stored: stored.swapaxes(0, 1),
        6: lambda stored: stored[::-1].swapaxes(0, 1),
        7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
        8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
    }

    @pytest.mark.parametrize("orientation", list(UPRIGHT))
    @pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
    def test_exif_orientation_is_applied(
        self, pixels: np.ndarray, orientation: int, image_format: str
    ) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        options = {"lossless": True} if image_format == "WEBP" else {}
        data = file_of(Image.fromarray(pixels), image_format, exif=exif, **options)
        np.testing.assert_array_equal(decode(data), self.UPRIGHT[orientation](pixels))

    def test_a_jpeg_from_a_turned_camera(self, photograph: np.ndarray) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        turned = decode(file_of(Image.fromarray(photograph), "JPEG", exif=exif))
        plain = decode(file_of(Image.fromarray(photograph), "JPEG"))
        assert turned.shape == (120, 80, 3)
        np.testing.assert_array_equal(turned, np.rot90(plain, k=-1))

    def test_16_bit_gray_is_turned_too(self) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 3
        samples = np.array([[0x1000, 0x2000, 0x3000]], dtype=np.uint16)
        image = decode(file_of(Image.fromarray(samples), "PNG", exif=exif))
        assert image[0, :, 0].tolist() == [0x30, 0x20, 0x10]

    def test_exif_that_is_no_exif_says_nothing(self, photograph: np.ndarray) -> None:
        image = Image.fromarray(photograph)
        damaged = decode(file_of(image, "JPEG", exif=b"Exif\0\0no tags in here"))
        np.testing.assert_array_equal(damaged, decode(file_of(image, "JPEG")))


class TestRefusals:
    def test_no_bytes(self) -> None:
        with pytest.raises(ImageDecodeError, match="0 bytes"):
            decode(b"")

    @pytest.mark.parametrize("image_format", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
    def test_other_formats(self, image_format: str) -> None:
        with pytest.raises(ImageFormatError, match="no JPEG, PNG or WebP"):
            decode(file_of(Image.new("RGB", (16, 16)), image_format))

    def test_an_animated_gif(self) -> None:
        frames = [Image.new("P", (4, 4), color) for color in (1, 2)]
        with pytest.raises(ImageFormatError, match="begins with 474946383"):
            decode(file_of(frames[0], "GIF", save_all=True, append_images=frames[1:]))

    @pytest.mark.parametrize("data", [b"hello", b"\0", b"<svg/>", b"RIFF\x10\0\0\0WAVE", b"\xff\xd8"])
    def test_what_is_no_image(self, data: bytes) -> None:
        with pytest.raises(ImageFormatError, match=data[:8].hex()):
            decode(data)

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_truncated(self, photograph: np.ndarray, image_format: str, share: float) -> None:
        data = file_of(Image.fromarray(photograph), image_format)
        with pytest.raises(ImageDecodeError, match=f"the {image_format} image does not decode"):
            decode(data[: int(share * len(data))])

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
    def test_nothing_but_a_signature(self, photograph: np.ndarray, image_format: str) -> None:
        data = file_of(Image.fromarray(photograph), image_format)[:12]
        with pytest.raises(ImageDecodeError, match=f"the {image_format} image does not decode"):
            decode(data)

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
    def test_the_pixel_limit_is_exact(self, image_format: str) -> None:
        data = file_of(Image.new("RGB", (100, 50)), image_format)
        assert decode_image(data, max_pixels=5000).shape == (50, 100, 3)
        with pytest.raises(ImagePixelsError, match="100 x 50, 5000 pixels, and the limit is 4999"):
            decode_image(data, max_pixels=4999)

    def test_a_png_that_claims_more_than_it_holds_is_refused_by_its_header(self) -> None:
        # 10^10 pixels in a file of 70 bytes: were it decoded first, this would be "truncated".
        data = bytearray(file_of(Image.new("RGB", (1, 1)), "PNG"))
        data[16:24] = struct.pack(">II", 100_000, 100_000)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        for max_pixels in (MAX_PIXELS, 2**28):
            with pytest.raises(ImagePixelsError, match="100000 x 100000"):
                decode_image(bytes(data), max_pixels=max_pixels)

    def test_a_webp_beyond_what_pillow_itself_allows_is_refused_alike(self) -> None:
        data = bytearray(file_of(Image.new("RGB", (1, 1)), "WEBP", lossless=True))
        assert data[12:16] == b"VP8L"
        data[21:24] = b"\xff\xff\xff"  # 14 bits of width - 1 and 10 of height - 1: 16384 x 4096
        data[24] |= 0x0F  # the other 4 bits of height: 16384 x 16384
        with pytest.raises(ImagePixelsError, match="the limit is 10000"):
            decode(bytes(data))

    def test_above_pillows_own_warning_limit_the_error_is_ours(self) -> None:
        # More than Pillow's own warning limit, 89 million pixels; one bit each, so that it stays small here.
        data = file_of(Image.new("1", (9600, 9600)), "PNG")
        with pytest.raises(ImagePixelsError, match="92160000 pixels"):
            decode_image(data, max_pixels=89_000_000)

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
    def test_random_damage_decodes_or_is_the_senders_error(
        self, photograph: np.ndarray, image_format: str
    ) -> None:
        data = file_of(Image.fromarray(photograph[:40, :40]), image_format)
        random = np.random.default_rng(0)
        refusals = []
        for _ in range(200):
            damaged = bytearray(data)
            for position in random.integers(0, len(data), size=4):
                damaged[position] = random.integers(0, 256)
            try:
                decode(bytes(damaged))
            except InputError as error:
                refusals.append(str(error))
        assert refusals
        assert not [refusal for refusal in refusals if "\n" in refusal]


class TestFit:
    def test_an_image_of_the_right_size_passes_untouched(self, pixels: np.ndarray) -> None:
        for resize in ("crop", "squash", "strict"):
            assert fit(pixels, height=6, width=9, resize=resize) is pixels

    @pytest.mark.parametrize("shape", [(80, 120), (120, 80), (8, 8), (16, 8), (5, 7), (1, 50), (33, 100)])
    @pytest.mark.parametrize("resize", ["crop", "squash"])
    @pytest.mark.parametrize("target", [(8, 8), (8, 16), (64, 64)])
    def test_every_image_gets_the_size_that_was_asked_for(
        self, shape: tuple[int, int], resize: Any, target: tuple[int, int]
    ) -> None:
        image = np.full((*shape, 3), 93, dtype=np.uint8)
        height, width = target
        fitted = fit(image, height=height, width=width, resize=resize)
        np.testing.assert_array_equal(fitted, np.full((height, width, 3), 93))

    @pytest.mark.parametrize("turn", [False, True])
    def test_crop_keeps_the_center(self, turn: bool) -> None:
        # Three squares side by side: only the middle one is left, its edges a little blurred by the filter.
        image = np.repeat([[[255, 0, 0]] * 32 + [[0, 255, 0]] * 32 + [[0, 0, 255]] * 32], 32, axis=0)
        image = image.astype(np.uint8)
        if turn:
            image = np.ascontiguousarray(image.swapaxes(0, 1))
        fitted = fit(image, height=8, width=8, resize="crop")
        np.testing.assert_array_equal(fitted[1:-1, 1:-1], np.full((6, 6, 3), (0, 255, 0)))
        assert fitted[:, :, 1].min() > 200

    def test_squash_keeps_everything(self) -> None:
        image = np.repeat([[[255, 0, 0]] * 32 + [[0, 255, 0]] * 32 + [[0, 0, 255]] * 32], 32, axis=0)
        fitted = fit(image.astype(np.uint8), height=9, width=9, resize="squash")
        assert fitted[4, [1, 4, 7]].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]

    def test_crop_scales_the_short_side_and_cuts_the_long_one(self, photograph: np.ndarray) -> None:
        # 80 x 120 to 20 x 20: a quarter of the size, then 5 columns off each side.
        fitted = fit(photograph, height=20, width=20, resize="crop")
        whole = np.asarray(Image.fromarray(photograph).resize((30, 20), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(fitted, whole[:, 5:-5])

    def test_shrinking_does_not_alias(self) -> None:
        # Columns of black and white, finer than the target can show, become gray and not stripes.
        stripes = np.zeros((128, 128, 3), dtype=np.uint8)
        stripes[:, ::2] = 255
        fitted = fit(stripes, height=8, width=8, resize="crop").astype(int)
        assert np.abs(fitted - 127.5).max() < 4

    def test_strict_refuses_another_size(self, pixels: np.ndarray) -> None:
        with pytest.raises(ImageSizeError, match="the image is 9 x 6, and this model takes 8 x 8"):
            fit(pixels, height=8, width=8, resize="strict")

    def test_an_unknown_way(self, pixels: np.ndarray) -> None:
        resize: Any = "stretch"
        with pytest.raises(ParameterError, match="resize is 'stretch'"):
            fit(pixels, height=8, width=8, resize=resize)


class TestEncodePng:
    def test_what_is_encoded_decodes_to_the_same_pixels(self, photograph: np.ndarray) -> None:
        data = encode_png(photograph)
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        np.testing.assert_array_equal(decode(data), photograph)
        np.testing.assert_array_equal(decode(encode_png(photograph[::2, ::-1])), photograph[::2, ::-1])

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((2, 2, 3), dtype=np.float32),
            np.zeros((2, 2), dtype=np.uint8),
            np.zeros((2, 2, 4), dtype=np.uint8),
            np.zeros((0, 2, 3), dtype=np.uint8),
        ],
    )
    def test_what_is_no_image_is_refused(self, image: np.ndarray) -> None:
        with pytest.raises(PixelsError, match=r"a PNG takes uint8 \[H, W, 3\]"):
            encode_png(image)
