"""How the blocking client does its steps: in the caller's thread, and batches in threads of its own."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sized
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import httpx

from .base import BaseClient
from .batches import Batch
from .core import seconds_until, too_late
from .http import FAILURES, HttpOptions, lost, reply_of, timeout_of
from .transport import Lost, Outcome, Prepare, Reply, Send, Steps

T = TypeVar("T")
A = TypeVar("A", bound=Sized)


class ThreadedClient(BaseClient):
    """A client with connections and threads."""

    def close(self) -> None:
        """Close the connections, when the requests under way are over."""
        # A connection that a thread is just opening would otherwise never be closed.
        self._threads.shutdown(cancel_futures=True)
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, options: HttpOptions) -> None:
        self._http = httpx.Client(**options)
        self._threads = ThreadPoolExecutor(self._concurrency, thread_name_prefix="tokenizer-client")

    def _stream(
        self, batches: Iterator[Batch], steps: Callable[[Batch], Steps[list[A]]], deadline: float
    ) -> Generator[A, None, None]:
        """The results of `steps` for each of `batches`, in their order, made in threads."""
        # Before the threads begin, so that all of them expect the same codebook.
        self._run(self._core.model(deadline=deadline))
        stop = threading.Event()
        window: deque[Future[list[A]]] = deque()
        try:
            for batch in batches:
                window.append(self._threads.submit(self._run, steps(batch), stop=stop))
                if len(window) == self._num_ahead:
                    yield from _result(window.popleft(), deadline)
            while window:
                yield from _result(window.popleft(), deadline)
        finally:
            stop.set()
            for future in window:
                future.cancel()

    def _run(self, steps: Steps[T], *, stop: threading.Event | None = None) -> T:
        """Do `steps`, and give what they return; after `stop` no step is begun."""
        stop = stop or threading.Event()
        outcome: Outcome = None
        while not stop.is_set():
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            match step:
                case Prepare():
                    outcome = step.make()
                case Send():
                    outcome = self._send(step)
                case _:
                    outcome = None
                    stop.wait(step.seconds)
        raise CancelledError

    def _send(self, step: Send) -> Reply | Lost:
        end = time.monotonic() + step.timeout_s
        chunks = []
        try:
            with self._http.stream(
                step.method,
                step.path,
                params=list(step.params),
                headers=step.headers,
                content=step.content,
                timeout=timeout_of(step),
            ) as response:
                for chunk in response.iter_bytes():
                    chunks.append(chunk)
                    # httpx counts the time of each piece anew.
                    if time.monotonic() > end:
                        return lost(step, TimeoutError())
        except FAILURES as error:
            return lost(step, error)
        return reply_of(response, content=b"".join(chunks))


def _result(future: Future[list[A]], deadline: float) -> list[A]:
    try:
        return future.result(timeout=seconds_until(deadline))
    except TimeoutError:
        raise too_late() from None
