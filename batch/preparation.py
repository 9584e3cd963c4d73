"""From a sample to the pixels that the model takes, or to the row of a failed one."""

import hashlib
from typing import NamedTuple

from kohonen_tokenizer.pixels import Pixels
from kohonen_tokenizer.service.errors import InputError
from kohonen_tokenizer.service.runtime.images import decode_image, fit

from .identity import Preprocessing
from .rows import Row
from .sources.source import Sample


class Prepared(NamedTuple):
    """An image on its way."""

    row: Row
    """Without tokens yet."""
    pixels: Pixels | None
    """uint8 [H, W, 3] of the model's size; None for a failed image, whose row has the error."""


def prepare(sample: Sample, *, preprocessing: Preprocessing) -> Prepared:
    """Decode `sample` and bring it to the model's size; what fails is said in its row."""
    content = sample.content
    if content is None:
        return _failed(sample, f"unreadable: {sample.error}")
    sha256 = hashlib.sha256(content).hexdigest()
    size = preprocessing.size
    width = height = None
    try:
        image = decode_image(content, max_pixels=preprocessing.max_pixels)
        height, width, _ = image.shape
        pixels = fit(image, height=size.height, width=size.width, resize=preprocessing.resize)
    except InputError as error:
        return _failed(sample, f"{error.code}: {error}", sha256=sha256, width=width, height=height)
    row = Row(sample.id, sample.source, width, height, None, sha256, sample.label, None)
    return Prepared(row, pixels)


def _failed(
    sample: Sample,
    error: str,
    *,
    sha256: str | None = None,
    width: int | None = None,
    height: int | None = None,
) -> Prepared:
    return Prepared(Row(sample.id, sample.source, width, height, error, sha256, sample.label, None), None)
