"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path`, replacing what is there: a reader, or a crash, sees the old file or the new one.

    Raises:
        OSError: the folder is missing, not writable, or full; `path` is then as it was.
    """
    with new_file(path) as file:
        file.write(data)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which is put at `path` when the context ends well, as `write_atomically` does.

    Raises:
        OSError: the folder is missing, not writable, or full; `path` is then as it was.
    """
    # In the same folder, because a rename is atomic within one file system only.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
        sync(temporary)
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # the name that the caller knows
        raise
    finally:
        if temporary.exists():
            temporary.unlink()


def sync(path: Path) -> None:
    """Have the system put the file or folder `path` on the disk: a rename after that outlives a crash."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
