"""Pictures of any mode and size as RGB arrays of one size, by the same rules in training and in the service.

H W pixels; every array here is uint8 [H, W, 3], RGB.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

# Bicubic, which Pillow widens when it shrinks, so that it does not alias. Vision models are commonly fed with
# it, and it rings less at edges than Lanczos.
_FILTER = Image.Resampling.BICUBIC


def rgb_over_white(image: Image.Image) -> Pixels:
    """The pixels of a loaded `image` of any mode; transparency is laid over white.

    16-bit samples keep their high byte; gray, palette and CMYK become RGB; color profiles are not applied.
    """
    if image.mode.startswith("I;16"):
        gray = np.asarray(image)
        # The high byte, as Pillow reads 16-bit color: equal pictures in gray and in color give equal pixels.
        high = (gray >> 8).astype(np.uint8)
        high[gray == image.info.get("transparency")] = 255
        return np.repeat(high[:, :, np.newaxis], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def crop(image: Pixels, *, height: int, width: int) -> Pixels:
    """`image` scaled until it just covers `height` x `width`, of which the center is kept."""
    source_height, source_width, _ = image.shape
    # A box in fractions of a pixel: to scale first and cut whole pixels then would move the center.
    scale = max(height / source_height, width / source_width)
    box_height, box_width = min(source_height, height / scale), min(source_width, width / scale)
    top, left = (source_height - box_height) / 2, (source_width - box_width) / 2
    box = (left, top, left + box_width, top + box_height)
    return np.array(Image.fromarray(image).resize((width, height), _FILTER, box=box))


def squash(image: Pixels, *, height: int, width: int) -> Pixels:
    """`image` with each side scaled on its own to `height` x `width`."""
    return np.array(Image.fromarray(image).resize((width, height), _FILTER))
