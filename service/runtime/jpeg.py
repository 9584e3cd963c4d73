"""JPEG files by simplejpeg: the pixels that Pillow gives, bit for bit, in a fraction of its time.

Both run libjpeg-turbo; simplejpeg's defaults are Pillow's inverse DCT and Pillow's upsampling of color, and
the gain is in what lies around them. Pillow stays the reference: a file with any flaw is left to it, so that
its verdict counts. `benchmarks/image_decoding.py` measures both and compares their pixels.

H W pixels; every array here is uint8 [H, W, 3], RGB.
"""

import io
from typing import NamedTuple

import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile

from kohonen_tokenizer.pixels import Pixels

from ..errors import ImageFormatError
from .orientation import UPRIGHT, orientation_of

JPEG_SIGNATURE = b"\xff\xd8\xff"

# Encoders write about ten scans. Each may cost a few bytes and a pass over all pixels, so that a small file
# of thousands keeps a decoder busy for minutes: "Two Issues with the JPEG Standard" (Commander and Markham,
# 2016), issue LJT-01-003.
_MAX_SCANS = 100

_APP0, _APP2, _APP14, _COMMENT = 0xE0, 0xE2, 0xEE, 0xFE
_SOF0, _SOF1, _HUFFMAN, _QUANTIZATION, _RESTART, _SCAN = 0xC0, 0xC1, 0xC4, 0xDB, 0xDD, 0xDA
_ORDINARY = {_APP0, _APP2, _APP14, _COMMENT, _SOF0, _SOF1, _HUFFMAN, _QUANTIZATION, _RESTART, _SCAN}

# What counts as a small file: to decode it takes a millisecond or two.
_SMALL_BYTES = _SMALL_PIXELS = 2**18

_COLOR_SPACES = {"YCbCr", "RGB", "Gray"}


class JpegHeader(NamedTuple):
    """What is known of a JPEG before a pixel of it is decoded."""

    height: int
    width: int
    """Both as stored, not yet upright."""

    orientation: int
    """1 to 8, as in EXIF."""


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """The header of a JPEG that `decode_jpeg` may read; None for one to leave to Pillow.

    Raises:
        ImageFormatError: more scans than any encoder writes.
    """
    _check_num_scans(data)
    try:
        orientation = UPRIGHT if _is_ordinary(data) else orientation_of(open_jpeg(data))
        height, width, color_space, _ = simplejpeg.decode_jpeg_header(data)
    except Exception:
        # Damage and rare samplings show as nearly any error, in either library. Pillow will say what it is.
        return None
    return JpegHeader(height, width, orientation) if color_space in _COLOR_SPACES else None


def is_small_jpeg(data: bytes) -> bool:
    """Whether it is an ordinary JPEG of so few bytes and pixels that nobody has to wait long for it.

    A file of another format may be as short and unfold to a hundred times as many pixels.
    """
    if len(data) > _SMALL_BYTES or not data.startswith(JPEG_SIGNATURE) or not _is_ordinary(data):
        return False
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except Exception:
        return False  # as in read_jpeg_header
    return bool(height * width <= _SMALL_PIXELS)


def decode_jpeg(data: bytes) -> Pixels | None:
    """The pixels as stored, [H, W, 3], of a JPEG whose header was read; None where the file has a flaw."""
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, strict=True)
    except ValueError:
        return None
    return pixels


def open_jpeg(data: bytes) -> JpegImageFile:
    """The file in Pillow's hands, its header read; on damage Pillow raises nearly anything."""
    return JpegImageFile(io.BytesIO(data))


def _check_num_scans(data: bytes) -> None:
    # Sequential files too: a decoder reads every scan of theirs where they have more than one.
    num_scans = data.count(bytes([0xFF, _SCAN]))
    if num_scans > _MAX_SCANS:
        raise ImageFormatError(
            f"the JPEG has {num_scans} scans, the limit is {_MAX_SCANS}; save it without progressive coding"
        )


def _is_ordinary(data: bytes) -> bool:
    """Whether the file is sequential, and no segment before its pixels could hold an orientation.

    To walk over the segments takes a tenth of the time in which Pillow reads them.
    """
    start = 2
    try:
        while data[start] == 0xFF and data[start + 1] in _ORDINARY:
            if data[start + 1] == _SCAN:
                return True
            start += 2 + (data[start + 2] << 8) + data[start + 3]
    except IndexError:
        pass
    return False
