"""The batcher for coroutines: results arrive on the event loop, and waiting ends at the deadline."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from ..batching.batcher import Batcher, Observe
from ..batching.work import Rows, Work
from ..errors import DeadlineError, NotReadyError
from ..runtime.tokenizer import Tokenizer
from .body_threads import BodyThreads

# Most requests are over by then, and spare themselves a task that only waits for the client to leave.
_WATCH_AFTER_S = 0.2


class _AwaitedWork(Work):
    """Work that a coroutine waits for.

    Attributes:
        ended: is done when the wait is over, well or with `error`.
    """

    __slots__ = ("ended",)

    def __init__(
        self,
        *,
        deadline: float,
        loop: asyncio.AbstractEventLoop,
        prepare: Callable[[], Rows] | None = None,
    ) -> None:
        super().__init__(deadline=deadline, prepare=prepare)
        self.ended: asyncio.Future[None] = loop.create_future()

    def end(self, error: Exception | None) -> None:
        """Wake the coroutine, on its event loop."""
        if not self.ended.done():
            self.error = error
            self.ended.set_result(None)

    def raise_error(self) -> None:
        """Raise the error, if there is one, and forget it.

        An error holds its traceback, that the frames, and those this work: with the error still in it, or in
        this frame, that were a circle, which stays in memory, and the request's body with it, until the
        garbage collector comes by.
        """
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error


class Inference:
    """Runs a tokenizer's model for coroutines, through a batcher of its own."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        threads: BodyThreads,
        observe: Observe,
        max_batch_size: int,
        max_queue_images: int,
        max_wait_s: float,
        num_runners: int,
    ) -> None:
        """Start the batcher, on the event loop; `threads` do what comes before it, the rest is its own."""
        self._threads = threads
        self._is_on_cpu = tokenizer.backend.is_on_cpu
        self._awaited: dict[_AwaitedWork, str] = {}
        self._loop = asyncio.get_running_loop()
        self.batcher = Batcher(
            {"encode": tokenizer.backend.encode, "decode": tokenizer.backend.decode},
            deliver=partial(_deliver, self._loop),
            observe=observe,
            max_batch_size=max_batch_size,
            max_queue_images=max_queue_images,
            max_wait_s=max_wait_s,
            num_runners=num_runners,
        )

    async def run(
        self,
        operation: str,
        prepare: Callable[[], Rows],
        *,
        deadline: float,
        receive: Receive | None = None,
        is_small: bool = False,
    ) -> Work:
        """Run `operation` on the rows that `prepare` makes in a thread; the work has its result.

        From its thread the rows go to the batcher without a stop at the event loop, where a turn may cost
        more than a small image.

        Args:
            operation: "encode" or "decode".
            prepare: gives valid rows [B, ...], or raises what this raises.
            deadline: the time, of `time.monotonic`, at which waiting ends.
            receive: of the request, after its body: tells when the client leaves. Without it nobody leaves.
            is_small: whether `prepare` makes one row, and in no more time than that takes in the model.

        Raises:
            DeadlineError: no result by `deadline`.
            NotReadyError: it was given up.
            QueueFullError, StoppingError, InferenceError: as the batcher has it.
            ClientDisconnect: the client left.
        """
        work = _AwaitedWork(deadline=deadline, loop=self._loop, prepare=prepare)
        if is_small and self._is_on_cpu:
            self.batcher.submit_unread(operation, work)
        else:
            self._threads.submit(partial(self._prepare_and_submit, operation, work))
        return await self._wait_for(work, operation=operation, receive=receive)

    async def run_urgently(self, operation: str, rows: Rows, *, deadline: float) -> Work:
        """Run `operation` on valid `rows` [B, ...] before all that waits, for a thread or for the model.

        Raises:
            DeadlineError: no result by `deadline`, a time of `time.monotonic`.
            StoppingError, InferenceError: as the batcher has it.
        """
        work = _AwaitedWork(deadline=deadline, loop=self._loop)
        self.batcher.submit(operation, work, rows=rows, urgent=True)
        return await self._wait_for(work, operation=operation, receive=None)

    def give_up(self, operation: str, *, reason: str) -> None:
        """End every wait for `operation` with a NotReadyError: the model does not come back from its runs."""
        for work, waits_for in self._awaited.items():
            if waits_for == operation:
                work.end(NotReadyError(reason))

    def _prepare_and_submit(self, operation: str, work: _AwaitedWork) -> None:
        prepare, work.prepare = work.prepare, None
        if prepare is None:
            return
        try:
            self.batcher.submit(operation, work, rows=prepare())
        except Exception as error:
            self._loop.call_soon_threadsafe(work.end, error)

    async def _wait_for(self, work: _AwaitedWork, *, operation: str, receive: Receive | None) -> Work:
        with _Patience(work, loop=self._loop, receive=receive):
            self._awaited[work] = operation
            try:
                await work.ended
                work.raise_error()
            except BaseException:
                self.batcher.cancel(operation, work)
                # Until a thread is free, what it was to do is in its queue, and the body would be too.
                work.prepare = None
                raise
            finally:
                del self._awaited[work]
        return work


class _Patience:
    """While it lasts, ends the wait for `work` at its deadline, and when the client leaves."""

    def __init__(
        self, work: _AwaitedWork, *, loop: asyncio.AbstractEventLoop, receive: Receive | None
    ) -> None:
        self._work = work
        self._loop = loop
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        remaining_s = max(0.0, work.deadline - time.monotonic())
        self._timers = [loop.call_later(remaining_s, self._expire)]
        if receive is not None:
            self._timers.append(loop.call_later(_WATCH_AFTER_S, self._watch))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _expire(self) -> None:
        self._work.end(DeadlineError("the deadline passed before the result was there; try again later"))

    def _watch(self) -> None:
        self._watcher = self._loop.create_task(self._wait_for_disconnect())

    async def _wait_for_disconnect(self) -> None:
        assert self._receive is not None
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._work.end(ClientDisconnect())


def _deliver(loop: asyncio.AbstractEventLoop, works: Sequence[Work]) -> None:
    # All in one call, for each is a system call.
    loop.call_soon_threadsafe(_end_all, works)


def _end_all(works: Sequence[Work]) -> None:
    for work in works:
        assert isinstance(work, _AwaitedWork)
        work.end(work.error)
