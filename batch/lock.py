"""One job at a time on a local destination; the system lets go of the lock of a process that is killed."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import DestinationError
from .storage import Storage

_LOCK_FILE = "_job/lock"


@contextmanager
def locked(storage: Storage) -> Iterator[None]:
    """Hold the destination. A remote one has no locks: there it is the user's to run one job at a time.

    Raises:
        DestinationError: another job is at work on it.
    """
    if not storage.is_local:
        yield
        return
    path = storage.local_path(_LOCK_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DestinationError(
                f"another job is at work on {storage.url}; wait for it, or give another DEST"
            ) from None
        yield
