"""Threads for what would hold up the event loop: reading bodies and writing replies."""

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class BodyThreads:
    """A fixed number of threads that do one piece of work at a time each, in the order of their coming.

    The standard library's pool makes a future, with a lock of its own, for each piece of work; to put small
    images into the batcher needs none, and a third of the time.
    """

    def __init__(self, num_threads: int, *, name: str = "body") -> None:
        """Start the threads, which are called `name` and a number."""
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._busy: set[int] = set()
        # Daemons, for work that does not end must not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"{name}-{number}", daemon=True)
            for number in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def num_busy(self) -> int:
        """Threads at work now, also for somebody who does not wait any more."""
        return len(self._busy)

    def submit(self, work: Callable[[], None]) -> None:
        """Have a thread do `work`, which tells by itself what came of it."""
        self._queue.put(work)

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, or raises, in a thread."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.submit(partial(_work_and_tell, work, future))
        try:
            return await future
        finally:
            # An error holds its traceback, that this frame, and this the error: a circle, which stays in
            # memory, and the request's body with it, until the garbage collector comes by.
            del future

    def close(self) -> None:
        """Have each thread end after what is queued now; waits for none."""
        for _ in self._threads:
            self._queue.put(None)

    def _serve(self, number: int) -> None:
        while (work := self._queue.get()) is not None:
            self._busy.add(number)
            try:
                work()
            except Exception:
                logger.exception("a piece of work failed on a bug of the service")
            finally:
                self._busy.discard(number)
            del work  # which holds a body, and until there is more to do it would stay


def _work_and_tell(work: Callable[[], T], future: asyncio.Future[T]) -> None:
    loop = future.get_loop()
    try:
        result = work()
    except Exception as error:
        loop.call_soon_threadsafe(_fail, future, error)
    else:
        loop.call_soon_threadsafe(_succeed, future, result)
    finally:
        del future  # as in BodyThreads.run


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
