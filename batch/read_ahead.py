"""Reading overlaps with what is done with the read: a thread stays a little ahead."""

from collections.abc import Iterator
from itertools import islice
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.1


def read_ahead(items: Iterator[T], *, group_size: int, num_groups: int) -> Iterator[list[T]]:
    """`items` in lists of `group_size`, the last one shorter, read in a thread at most `num_groups` ahead.

    What reading raises is raised here, in its place.
    """
    queue: Queue[list[T] | BaseException] = Queue(num_groups)
    is_over = Event()

    def read() -> None:
        try:
            while group := list(islice(items, group_size)):
                if not _put(queue, group, unless=is_over):
                    return
            _put(queue, [], unless=is_over)
        except BaseException as error:
            _put(queue, error, unless=is_over)

    thread = Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            found = queue.get()
            if isinstance(found, BaseException):
                raise found
            if not found:
                return
            yield found
    finally:
        is_over.set()
        thread.join()


def _put(queue: "Queue[list[T] | BaseException]", item: list[T] | BaseException, *, unless: Event) -> bool:
    """Whether `item` found room before the reader of the queue left."""
    while not unless.is_set():
        try:
            queue.put(item, timeout=_POLL_S)
        except Full:
            continue
        return True
    return False
