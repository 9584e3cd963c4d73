"""Images as a caller has them: paths, bytes of files, Pillow images, arrays, one or any number of them.

H W pixels.
"""

import io
import os
import sys
from collections.abc import AsyncIterable, Iterable, Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union, cast

import numpy as np
import numpy.typing as npt

from .batches import ArrayBatch, Batch, File, FileBatch, Limits, slices
from .errors import InputError
from .records import Pixels

if TYPE_CHECKING:
    import PIL.Image

ImageSource: TypeAlias = Union[str, os.PathLike[str], bytes, Pixels, "PIL.Image.Image"]
"""A path, the bytes of a JPEG, PNG or WebP, uint8 [H, W, 3], or a Pillow image."""
ManyImages: TypeAlias = Pixels | ImageSource | Iterable[ImageSource]
"""uint8 [B, H, W, 3], one image, or many."""

# What a PNG holds as it is; the service then treats transparency, gray and palettes by its own rules.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGBA", "I;16"})


def batches_of(images: ManyImages, *, limits: Limits) -> Iterator[Batch]:
    """`images` in batches within `limits`, read no further than the batch that is asked for.

    Raises:
        InputError: something that is no image.
    """
    if isinstance(images, np.ndarray):
        check_pixels(images, num_dimensions=4)
        yield from slices(images, kind=ArrayBatch, limits=limits)
        return
    grouper = ImageGrouper(limits)
    for image in [cast(ImageSource, images)] if _is_one(images) else cast(Iterable[ImageSource], images):
        yield from grouper.add(image)
    yield from grouper.rest()


def count_of(images: ManyImages | AsyncIterable[ImageSource]) -> int | None:
    """How many images there are, if that is known beforehand."""
    if _is_one(images):
        return 1
    return len(images) if isinstance(images, Sized) else None


def check_pixels(images: npt.NDArray[Any], *, num_dimensions: int, index: int | None = None) -> None:
    """Return if `images` are uint8 [B, H, W, 3], or without the first of these 4 dimensions.

    Raises:
        InputError: they are not.
    """
    if images.dtype != np.uint8 or images.ndim != num_dimensions or images.shape[-1] != 3:
        wanted = "[B, H, W, 3]" if num_dimensions == 4 else "[H, W, 3]"
        raise InputError(
            f"the array is {images.dtype} {list(images.shape)}; give uint8 {wanted}",
            code="invalid_pixels",
            index=index,
        )


class ImageGrouper:
    """Collects images that come one by one into batches of one kind: files, or arrays of one shape."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._items: list[Any] = []
        self._shape: tuple[int, ...] | None = None
        self._num_bytes = 0
        self._num_before = 0

    def add(self, source: ImageSource) -> Iterator[Batch]:
        """Take one more image; gives what is complete without it, or with it.

        Raises:
            InputError: it is none, or a file that is not there.
        """
        item = _item_of(source, index=self._num_before + len(self._items))
        shape = item.shape if isinstance(item, np.ndarray) else None
        num_bytes = _num_bytes_of(item, index=self._num_before + len(self._items))
        if self._items and (shape != self._shape or self._num_bytes + num_bytes > self._limits.max_bytes):
            yield from self.rest()
        self._shape = shape
        self._items.append(item)
        self._num_bytes += num_bytes
        if len(self._items) >= self._limits.max_items:
            yield from self.rest()

    def rest(self) -> Iterator[Batch]:
        """What is left when no more come."""
        if self._items:
            kind = FileBatch if self._shape is None else ArrayBatch
            yield kind(self._items, first=self._num_before)
            self._num_before += len(self._items)
            self._items = []
            self._num_bytes = 0


def _item_of(source: object, *, index: int) -> File | Pixels:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | os.PathLike):
        return Path(source)
    if _is_pillow(source):
        return _of_pillow(source)
    if isinstance(source, np.ndarray):
        check_pixels(source, num_dimensions=3, index=index)
        return source
    raise InputError(
        f"an object of type {type(source).__name__} is no image; give a path, the bytes of a file, a Pillow "
        "image, or an array uint8 [H, W, 3]",
        code="invalid_image",
        index=index,
    )


def _num_bytes_of(item: File | Pixels, *, index: int) -> int:
    if isinstance(item, np.ndarray):
        return item.nbytes
    if isinstance(item, bytes):
        return len(item)
    try:
        return item.stat().st_size
    except OSError as error:
        raise InputError(
            f"{item} cannot be read ({error.strerror})", code="unreadable_file", index=index
        ) from error


def _is_one(images: object) -> bool:
    return isinstance(images, str | bytes | os.PathLike) or _is_pillow(images)


def _is_pillow(value: object) -> TypeGuard["PIL.Image.Image"]:
    # Whoever has an image of Pillow's has imported Pillow.
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def _of_pillow(image: "PIL.Image.Image") -> File | Pixels:
    """The pixels as they are: an orientation in the metadata is the caller's to apply."""
    if image.mode not in _PNG_MODES:
        return np.asarray(image.convert("RGB"))
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=1)
    return file.getvalue()
