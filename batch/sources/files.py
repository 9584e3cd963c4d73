"""Image files: all in a folder and the folders below it, or those on a list."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

from ..errors import SourceError
from ..storage import Storage
from .source import Kind, Piece, Sample

# Formats that are not read are here too: such a file is a failed row, and not one that nobody misses.
IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".jxl", ".png", ".tif", ".tiff", ".webp")
)

# Files asked for at once: a remote store answers each late and many together.
_GROUP = 64
_NUM_CONNECTIONS = 16


class FolderSource:
    """The image files of a folder and of all below it; hidden files are left out.

    A file's label is the name of its folder, as in Hugging Face's imagefolder; right in the source, none.
    """

    kind: Kind = "folder"

    def __init__(self, storage: Storage) -> None:
        """Take the folder."""
        self.storage = storage
        self.is_local = storage.is_local
        self.columns: dict[str, str] = {}

    def pieces(self) -> Iterator[Piece]:
        """One for each image file."""
        for path in self.storage.walk():
            if PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES:
                yield Piece(path, num_images=1)

    def samples(self, pieces: Sequence[Piece]) -> Iterator[Sample]:
        """The content of the files."""
        for group in _groups([piece.path for piece in pieces]):
            for path, content in zip(group, self.storage.read_many(group), strict=True):
                folder = path.rpartition("/")[0].rpartition("/")[2]
                yield _sample(path, content=content, label=folder or None)


class ListSource:
    """The files of a list, in its order.

    A line is a path or a URL, and may go on with a tab and the label. A path that is not absolute is relative
    to the list's own folder.
    """

    kind: Kind = "list"

    def __init__(self, storage: Storage) -> None:
        """Take the list."""
        self.storage = storage
        self._folder = storage.parent
        # Its lines may be URLs.
        self.is_local = False
        self.columns: dict[str, str] = {}

    def pieces(self) -> Iterator[Piece]:
        """One for each line that is not empty."""
        try:
            text = self.storage.read().decode()
        except UnicodeDecodeError as error:
            raise SourceError(f"{self.storage.url} is no UTF-8 text ({error}); list a path a line") from None
        yield from (Piece(line, num_images=1) for line in text.splitlines() if line.strip())

    def samples(self, pieces: Sequence[Piece]) -> Iterator[Sample]:
        """The content of the files."""
        with ThreadPoolExecutor(_NUM_CONNECTIONS) as connections:
            for group in _groups([piece.path for piece in pieces]):
                lines = [line.partition("\t") for line in group]
                paths = [path for path, _, _ in lines]
                is_remote = any("://" in path for path in paths)
                contents = connections.map(self._read, paths) if is_remote else map(self._read, paths)
                for (path, _, label), content in zip(lines, contents, strict=True):
                    yield _sample(path, content=content, label=label.strip() or None)

    def _read(self, path: str) -> bytes | Exception:
        try:
            return Storage(path).read() if "://" in path else self._folder.read(path)
        except (OSError, SourceError) as error:
            return error


def _groups(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    return (paths[first : first + _GROUP] for first in range(0, len(paths), _GROUP))


def _sample(path: str, *, content: bytes | Exception, label: str | None) -> Sample:
    if isinstance(content, bytes):
        return Sample(path, path, label, content)
    reason = content.strerror if isinstance(content, OSError) and content.strerror else str(content)
    return Sample(path, path, label, None, f"the file cannot be read ({reason})")
