"""Image files to pixel arrays of the model's size, and back to PNG.

Pillow is the exact reference; `jpeg.py` reads most JPEG files, with the same result.
H W pixels; every array here is uint8 [H, W, 3], RGB.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from kohonen_tokenizer.pixels import Pixels, crop, rgb_over_white, squash

from ..errors import (
    ImageDecodeError,
    ImageFormatError,
    ImagePixelsError,
    ImageSizeError,
    InputError,
    ParameterError,
    PixelsError,
)
from .jpeg import JPEG_SIGNATURE, decode_jpeg, open_jpeg, read_jpeg_header
from .orientation import orientation_of, turn_upright

Resize = Literal["crop", "squash", "strict"]

# What Pillow multiplies gray samples of 2 and of 4 bits by, to make 8 bits of them.
_GRAY_SCALES = {"L;2": 85, "L;4": 17}


def decode_image(data: bytes, *, max_pixels: int) -> Pixels:
    """Decode a JPEG, PNG or WebP file to RGB: uint8 [H, W, 3].

    EXIF orientation is applied, transparency is laid over white, of an animation the first frame counts,
    16-bit samples keep their high byte; gray, palette and CMYK become RGB. Embedded color profiles are not
    applied.

    Args:
        data: the content of the file.
        max_pixels: the most pixels (width * height) an image may have. The header is asked before anything
            is decoded, so that a small file cannot claim a large memory.

    Raises:
        ImageFormatError: another format, 16-bit color of which one is declared transparent, or a JPEG of more
            scans than any encoder writes.
        ImagePixelsError: more than `max_pixels`.
        ImageDecodeError: empty, truncated or damaged.
    """
    if not data:
        raise ImageDecodeError("the image has 0 bytes; send the content of a JPEG, PNG or WebP file")
    if data.startswith(JPEG_SIGNATURE):
        header = read_jpeg_header(data)
        if header is not None:
            _check_num_pixels(header.width, header.height, max_pixels=max_pixels)
            stored = decode_jpeg(data)
            if stored is not None:
                return turn_upright(stored, orientation=header.orientation)
    return _decode_with_pillow(data, max_pixels=max_pixels)


def fit(image: Pixels, *, height: int, width: int, resize: Resize = "crop") -> Pixels:
    """Bring `image` uint8 [H, W, 3] to `height` x `width`: uint8 [height, width, 3].

    An image of that size already is returned as it is, bit for bit.

    Args:
        image: the image.
        height: pixels from top to bottom that the model takes.
        width: pixels from left to right that the model takes.
        resize: what happens to an image of another size. "crop" scales it until it just covers the target
            and keeps the center; "squash" scales each side on its own; "strict" refuses it.

    Raises:
        ImageSizeError: another size under "strict".
        ParameterError: no such `resize`.
    """
    if resize not in ("crop", "squash", "strict"):
        raise ParameterError(f'resize is {resize!r}; it must be "crop", "squash" or "strict"')
    source_height, source_width, _ = image.shape
    if (source_height, source_width) == (height, width):
        return image
    if resize == "strict":
        raise ImageSizeError(
            f"the image is {source_width} x {source_height}, and this model takes {width} x {height}; "
            "send that size, or resize=crop or resize=squash"
        )
    bring = crop if resize == "crop" else squash
    return bring(image, height=height, width=width)


def encode_png(image: Pixels) -> bytes:
    """The PNG file of `image` uint8 [H, W, 3]; it decodes to the same pixels.

    Raises:
        PixelsError: another dtype or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise PixelsError(f"the image is {image.dtype} {list(image.shape)}; a PNG takes uint8 [H, W, 3]")
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def _decode_with_pillow(data: bytes, *, max_pixels: int) -> Pixels:
    open_image, image_format = _reader(data)
    with _damage_is_an_input_error(image_format, max_pixels=max_pixels):
        image = open_image(data)
    _check_num_pixels(image.width, image.height, max_pixels=max_pixels)
    _widen_transparency(image)
    with _damage_is_an_input_error(image_format, max_pixels=max_pixels):
        image.load()
        return turn_upright(rgb_over_white(image), orientation=orientation_of(image))


def _check_num_pixels(width: int, height: int, *, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImagePixelsError(
            f"the image is {width} x {height}, {width * height} pixels, and the limit is {max_pixels}; "
            "send a smaller image"
        )


def _reader(data: bytes) -> tuple[Callable[[bytes], ImageFile], str]:
    """Pillow's reader for the format that `data` begins as, and the format's name.

    The readers are called by name and not through `Image.open`, which would try every format it knows and
    warn of large images by a limit of its own before ours is asked.
    """
    if data.startswith(JPEG_SIGNATURE):
        return open_jpeg, "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return lambda data: PngImageFile(io.BytesIO(data)), "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return lambda data: WebPImageFile(io.BytesIO(data)), "WEBP"
    raise ImageFormatError(
        f"an image that begins with {data[:8].hex()} is no JPEG, PNG or WebP; convert it to one"
    )


@contextmanager
def _damage_is_an_input_error(image_format: str, *, max_pixels: int) -> Iterator[None]:
    try:
        yield
    except (MemoryError, InputError):
        raise
    except Image.DecompressionBombError:
        raise ImagePixelsError(
            f"the image has more pixels than can be decoded, the limit is {max_pixels}; send a smaller image"
        ) from None
    except Exception as error:
        # On damaged bytes Pillow's readers raise nearly anything: OSError, SyntaxError, ValueError,
        # struct.error, zlib.error. Whatever it is, it is about these bytes.
        raise ImageDecodeError(
            f"the {image_format} image does not decode ({error}); it is truncated or damaged: send it whole"
        ) from None


def _widen_transparency(image: ImageFile) -> None:
    """Bring the one color that a PNG declares transparent to the 8 bits of the pixels.

    Pillow widens or cuts the pixels to 8 bits but keeps that color as the file has it: it would match others.
    """
    if "transparency" not in image.info or not image.tile:
        return
    stored_as = image.tile[0].args
    if stored_as in _GRAY_SCALES:
        image.info["transparency"] *= _GRAY_SCALES[stored_as]
    elif stored_as == "RGB;16B":
        raise ImageFormatError(
            "the PNG has 16-bit color and declares one color transparent, which cannot be found in 8 bits; "
            "save it with an alpha channel or with 8-bit color"
        )
