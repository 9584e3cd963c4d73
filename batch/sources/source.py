"""What a job asks of a source of images."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:  # the command knows the kinds without the extra that a storage needs
    from ..storage import Storage

Kind = Literal["folder", "list", "webdataset", "parquet", "arrow"]


class Piece(NamedTuple):
    """A part of a source that can be read by itself: an image file, a tar, or a run of a table's rows."""

    path: str
    """Of the file, relative to the source."""
    start: int | None = None
    stop: int | None = None
    """Of a table, the rows from `start` to before `stop`."""
    num_images: int | None = None
    """None where only reading it all would tell."""


class Sample(NamedTuple):
    """An image as it is stored."""

    id: str
    """Unique in its source."""
    source: str
    """The file that holds it, relative to the source."""
    label: str | None
    content: bytes | None
    """The image file; None where it could not be read."""
    error: str | None = None
    """Why there is no content."""


class Source(Protocol):
    """Images in a fixed order. Can be pickled, and works in another process."""

    @property
    def kind(self) -> Kind:
        """What it is."""

    @property
    def columns(self) -> dict[str, str]:
        """Of a table, the column by each role: image, label, id."""

    @property
    def storage(self) -> "Storage":
        """The folder or the file that it is."""

    @property
    def is_local(self) -> bool:
        """Whether its files are on this machine, so that reading them waits for no network."""

    def pieces(self) -> Iterator[Piece]:
        """All of it, in an order that depends on the names of its files alone."""

    def samples(self, pieces: Sequence[Piece]) -> Iterator[Sample]:
        """The images of `pieces`, in order. What cannot be read is a sample too, with its error."""
