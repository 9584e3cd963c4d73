"""Images and grids of tokens in pieces of the size of a request.

B images or grids.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, cast

import httpx
import numpy as np
import numpy.typing as npt

from .errors import ClientError, InputError
from .npy import MEDIA_TYPE, write_npy
from .transport import Body

File = bytes | Path

A = TypeVar("A", bound=npt.NDArray[Any])


class Items(Protocol):
    """Items in memory that can be cut."""

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: slice, /) -> Any: ...


class Limits:
    """How much one request carries; less, once the service refused as much.

    Attributes:
        max_items: images or grids.
        max_bytes: of a body.
    """

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        self.max_items = max_items
        self.max_bytes = max_bytes

    def lower(self, error: ClientError, *, num_items: int, num_bytes: int) -> None:
        """Have later requests be half of one that was too large."""
        if error.code == "body_too_large":
            self.max_bytes = min(self.max_bytes, num_bytes // 2)
        else:
            self.max_items = min(self.max_items, num_items // 2)


class Batch(ABC):
    """What one request carries: items that follow each other in the whole.

    Attributes:
        first: the place of its first item in the whole.
    """

    def __init__(self, items: Any, *, first: int) -> None:
        self.first = first
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def halves(self) -> tuple[Self, Self]:
        """The first half of two items or more, and the others."""
        half = len(self._items) // 2
        kind = type(self)
        return (
            kind(self._items[:half], first=self.first),
            kind(self._items[half:], first=self.first + half),
        )

    @abstractmethod
    def body(self) -> Body:
        """The body of the request; this may read files.

        Raises:
            InputError: a file that cannot be read.
        """


class ArrayBatch(Batch):
    """Images of one shape, in an array [B, ...] or in B arrays."""

    def body(self) -> Body:
        """The array as .npy."""
        items = self._items
        array = items if isinstance(items, np.ndarray) else np.stack(items)
        return Body(content=write_npy(array), content_type=MEDIA_TYPE)


class FileBatch(Batch):
    """Image files, in memory or to be read when they are sent."""

    def body(self) -> Body:
        """The files as multipart/form-data."""
        files = [
            ("image", (str(index), _read(file, index=self.first + index), "application/octet-stream"))
            for index, file in enumerate(self._items)
        ]
        request = httpx.Request("POST", "http://unused", files=files)
        return Body(content=request.read(), content_type=request.headers["Content-Type"])


def slices(items: Items, *, kind: type[Batch], limits: Limits) -> Iterator[Batch]:
    """`items` in batches of this `kind` within `limits`."""
    start = 0
    while start < len(items):
        bytes_per_item = max(1, items.nbytes // len(items))
        num_items = max(1, min(limits.max_items, limits.max_bytes // bytes_per_item))
        yield kind(items[start : start + num_items], first=start)
        start += num_items


def joined(parts: Sequence[A], *, item_shape: tuple[int, ...], dtype: type[np.generic]) -> A:
    """`parts` [B, ...] in one array, which is empty if there are none."""
    empty = np.empty((0, *item_shape), dtype)
    return cast(A, np.concatenate(parts) if parts else empty)


def _read(file: File, *, index: int) -> bytes:
    if isinstance(file, bytes):
        return file
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror})", code="unreadable_file", index=index
        ) from error
