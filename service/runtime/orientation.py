"""Which way up an image file is stored, and its pixels brought upright.

H W pixels; every array here is uint8 [H, W, 3], RGB.
"""

from collections.abc import Callable

import numpy as np
from PIL import ExifTags
from PIL.ImageFile import ImageFile

from kohonen_tokenizer.pixels import Pixels

UPRIGHT = 1

# What brings the stored rows and columns upright: EXIF 2.32, section 4.6.4, tag Orientation.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}


def orientation_of(image: ImageFile) -> int:
    """The orientation that the metadata of `image` give, 1 to 8; `UPRIGHT` where they give none of these.

    It stands in EXIF or, failing that, in XMP. Metadata that do not parse may raise nearly anything.
    """
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    return orientation if orientation in _TURNS else UPRIGHT


def turn_upright(stored: Pixels, *, orientation: int) -> Pixels:
    """The pixels [H, W, 3] or [W, H, 3] of `stored` [H, W, 3] as they are meant to be seen."""
    if orientation == UPRIGHT:
        return stored
    return np.ascontiguousarray(_TURNS[orientation](stored))
