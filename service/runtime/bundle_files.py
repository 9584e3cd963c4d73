"""The files of a bundle by name, from a folder or from a .zip, each read once and into memory."""

import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..errors import BundleFileError, BundleNotFoundError

# What zipfile raises on a damaged file. ValueError is of names that are not in the encoding they claim,
# RuntimeError of encryption, and of what only newer tools read.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
)


class BundleFiles(Protocol):
    """Where the files of a bundle are read from."""

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The content of the file `name`.

        It stops one byte after `max_bytes`: enough to see that a file is too long, however long it is.

        Raises:
            BundleFileError: there is no such file, or it cannot be read.
        """


@contextmanager
def open_bundle_files(path: str | os.PathLike[str]) -> Iterator[BundleFiles]:
    """Open the bundle at `path`, a folder or a .zip file.

    Raises:
        BundleNotFoundError: neither of them.
        BundleFileError: a .zip that is damaged or holds what no bundle holds.
    """
    root = Path(path)
    if root.is_dir():
        yield _FolderFiles(root)
    elif root.is_file():
        try:
            archive = zipfile.ZipFile(root)
        except _ZIP_ERRORS:
            raise BundleNotFoundError(
                "this file is no .zip; give the folder or the .zip of a bundle"
            ) from None
        with archive:
            yield _ZipFiles(archive)
    else:
        raise BundleNotFoundError("nothing is there; give the folder or the .zip of a bundle")


def _missing(name: str) -> BundleFileError:
    return BundleFileError(f"{name} is missing; restore the file or export the bundle again")


def _unreadable(name: str, reason: str) -> BundleFileError:
    return BundleFileError(f"{name} cannot be read ({reason}); restore the file or export the bundle again")


class _FolderFiles:
    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str, *, max_bytes: int) -> bytes:
        path = self._root / name
        # A pipe or a device under this name would block or never end.
        if not path.is_file():
            raise _missing(name)
        try:
            with path.open("rb") as file:
                # No more than there is: Python reserves what it is asked to read before it reads.
                return file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)
        except OSError as error:
            raise _unreadable(name, error.strerror or type(error).__name__) from None


class _ZipFiles:
    """Nothing is unpacked to disk, so that no entry's name can reach a file outside the archive."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = Counter(archive.namelist())
        repeated = [name for name, count in names.items() if count > 1]
        if repeated:
            raise BundleFileError(f"the .zip holds {repeated[0]!r} more than once; zip the bundle again")
        # zipfile unpacks bzip2 and LZMA without a bound on what comes out.
        methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        odd = [entry.filename for entry in archive.infolist() if entry.compress_type not in methods]
        if odd:
            raise BundleFileError(
                f"the .zip compresses {odd[0]!r} by another method than deflate; zip the bundle again"
            )
        nested = [name for name in names if "/" in name or "\\" in name]
        if nested:
            raise BundleFileError(
                f"the .zip holds {nested[0]!r}; zip the files of the bundle themselves, without their folder"
            )

    def read(self, name: str, *, max_bytes: int) -> bytes:
        try:
            with self._archive.open(name) as file:
                return file.read(max_bytes + 1)
        except KeyError:
            raise _missing(name) from None
        except _ZIP_ERRORS as error:
            raise _unreadable(name, str(error)) from None
