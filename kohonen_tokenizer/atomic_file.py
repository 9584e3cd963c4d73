"""Files that are there whole or not at all."""

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path`, replacing what is there: a reader, or a crash, sees the old file or the new one.

    Raises:
        OSError: the folder is missing, not writable, or full; `path` is then as it was.
    """
    # In the same folder, because a rename is atomic within one file system only.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # the name that the caller knows
        raise
    finally:
        if temporary.exists():
            temporary.unlink()
