"""Batches across requests: images that arrive while the model is busy share its next run.

A batch leaves as soon as a runner is idle, so no timer is in the way of a lone request, and it grows by
itself while all runners are busy. Encoding and decoding have queues of their own, which take turns.

    submit ──> lane "encode" ─┐                                        ┌─> deliver
    submit ──> lane "decode" ─┴─> runner threads: one batch each, run ─┴─> deliver
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import DeadlineError, InferenceError, QueueFullError, StoppingError
from .lane import Lane, Part, Run
from .work import Rows, Work

logger = logging.getLogger(__name__)

# How much the newest run counts in the measured rate: about the last twenty runs matter.
_NEWEST = 0.1

Deliver = Callable[[Sequence[Work]], None]
Observe = Callable[[str, int, float], None]


class Batcher:
    """Merges the rows of many works into batches, runs them, and deals the results out again.

    Every work that is submitted and not canceled is delivered once: with its result, whole and in order, or
    with its error. Safe to use from several threads.
    """

    def __init__(
        self,
        runs: Mapping[str, Run],
        *,
        deliver: Deliver,
        observe: Observe,
        max_batch_size: int,
        max_queue_images: int,
        max_wait_s: float = 0.0,
        num_runners: int = 1,
    ) -> None:
        """Start the runner threads.

        Args:
            runs: for each operation, what turns a batch [N, ...] into its results [N, ...].
            deliver: is given the works that are done, in a runner thread and under a lock: it must be quick
                and must not call the batcher.
            observe: is told of each run: operation, rows, seconds.
            max_batch_size: rows of one run.
            max_queue_images: rows that may wait, of all operations together.
            max_wait_s: how long an idle runner waits for a batch to fill; 0 runs what is there.
            num_runners: runs at once.
        """
        self._lanes = {operation: Lane(run) for operation, run in runs.items()}
        self._turns = deque(self._lanes)
        self._deliver = deliver
        self._observe = observe
        self._max_batch_size = max_batch_size
        self._max_queue_images = max_queue_images
        self._max_wait_s = max_wait_s
        self._changed = threading.Condition()
        self._num_idle = 0
        self._rows_per_s = 0.0
        self._running: set[int] = set()
        self._is_closing = False
        self._threads = [
            # Daemons, for a run that hangs must not keep the process from ending.
            threading.Thread(target=self._serve, args=(number,), name=f"runner-{number}", daemon=True)
            for number in range(num_runners)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def num_queued(self) -> int:
        """Rows that wait for a run."""
        return sum(lane.num_rows for lane in self._lanes.values())

    @property
    def queue_s(self) -> float:
        """Seconds until all that waits now is through, at the rate of the latest runs; 0 before the first."""
        rate = self._rows_per_s * len(self._threads)
        return self.num_queued / rate if rate else 0.0

    def submit(self, operation: str, work: Work, *, rows: Rows, urgent: bool = False) -> None:
        """Queue `rows` [B, ...], B of at least 1, as `work`; all of them or none.

        Args:
            operation: one of those that the batcher runs.
            work: is delivered when it is done, unless it was canceled.
            rows: valid input: what the model cannot run fails with the whole work.
            urgent: go to the head of the queue and past its bound: for the canary.

        Raises:
            QueueFullError: the queue has no room for them, or would not come to them before the deadline.
            StoppingError: the batcher is closed.
        """
        self._submit(operation, work, rows=rows, num_rows=len(rows), urgent=urgent)

    def submit_unread(self, operation: str, work: Work) -> None:
        """Queue one row, which `work.prepare` makes in a runner, as part of its batch; it must be quick.

        What it raises is the error of this work alone. This is for runs on the CPU: threads of their own
        that read images would compete with the runners for the same CPUs.

        Raises:
            QueueFullError, StoppingError: as `submit` has it.
        """
        self._submit(operation, work, rows=None, num_rows=1, urgent=False)

    def _submit(self, operation: str, work: Work, *, rows: Rows | None, num_rows: int, urgent: bool) -> None:
        with self._changed:
            if work.is_over:
                return
            if self._is_closing:
                raise StoppingError("the model takes no more work; send the request again")
            if not urgent:
                self._check_room(num_rows, deadline=work.deadline)
            work.rows, work.num_rows = rows, num_rows
            self._lanes[operation].append(work, urgent=urgent)
            # As many runners as there is work for: they share it.
            self._changed.notify(num_rows)

    def cancel(self, operation: str, work: Work) -> None:
        """Take `work` out of the queue, for nobody waits for it; it is not delivered."""
        with self._changed:
            if not work.is_over:
                work.is_over = True
                self._lanes[operation].forget(work)

    def last_success(self, operation: str) -> float:
        """When a run of `operation` last ended well, by `time.monotonic`; minus infinity before the first."""
        return self._lanes[operation].last_success

    @property
    def num_running(self) -> int:
        """Runs that take place now."""
        return len(self._running)

    def close(self, *, timeout_s: float | None = None) -> None:
        """Refuse further work, finish what is queued, and end the threads, waiting at most `timeout_s`."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if timeout_s is None else max(0.0, deadline - time.monotonic()))

    def _check_room(self, num_rows: int, *, deadline: float) -> None:
        num_queued = self.num_queued
        if num_queued + num_rows > self._max_queue_images:
            raise QueueFullError(
                f"{num_queued} images wait and {num_rows} more would pass the limit of "
                f"{self._max_queue_images}; try again later",
                retry_after_s=self.queue_s,
            )
        if time.monotonic() + self.queue_s > deadline:
            raise QueueFullError(
                f"{num_queued} images wait, {self.queue_s:.1f} s of work, and the deadline comes before; "
                "try again later, or give the request more time",
                retry_after_s=self.queue_s,
            )

    def _serve(self, number: int) -> None:
        """What each runner thread does, until the batcher is closed and its queues are empty."""
        while (batch := self._next_batch()) is not None:
            lane, parts, operation = batch
            self._running.add(number)
            try:
                self._run(lane, parts, operation=operation)
            except Exception:
                # A bug, which must cost its own batch only: without this thread, work would wait for ever.
                logger.exception("a runner failed on a bug of the service")
                self._fail(lane, parts, operation=operation)
            finally:
                self._running.discard(number)
            del batch, parts  # which hold rows, and until there is more to do they would stay

    def _next_batch(self) -> tuple[Lane, list[Part], str] | None:
        """Wait for rows and take the batch whose turn it is, or None at the end."""
        with self._changed:
            self._num_idle += 1
            try:
                while True:
                    operation, wait_s = self._operation_in_turn()
                    if operation is None:
                        if self._is_closing:
                            return None
                        self._changed.wait(wait_s)
                        continue
                    lane = self._lanes[operation]
                    # Shared with the other idle runners: a large request runs on all of them at once. But a
                    # batch that waited to be full is not made several that wait again.
                    num_shares = 1 if self._max_wait_s else self._num_idle
                    share = math.ceil(lane.num_rows / num_shares)
                    parts, late = lane.take(min(share, self._max_batch_size))
                    if late:
                        self._end(
                            late, error=DeadlineError("the deadline passed in the queue; try again later")
                        )
                    if parts:
                        return lane, parts, operation
            finally:
                self._num_idle -= 1

    def _operation_in_turn(self) -> tuple[str | None, float | None]:
        """The operation to run now; else None, and in how many seconds one must run if nothing comes."""
        wait_s = None
        for operation in self._turns:
            lane = self._lanes[operation]
            if not lane.num_rows:
                continue
            time_to_fill = self._time_to_fill(lane)
            if time_to_fill <= 0:
                self._turns.remove(operation)
                self._turns.append(operation)
                return operation, None
            wait_s = time_to_fill if wait_s is None else min(wait_s, time_to_fill)
        return None, wait_s

    def _time_to_fill(self, lane: Lane) -> float:
        if not self._max_wait_s or lane.num_rows >= self._max_batch_size or self._is_closing:
            return 0.0
        return lane.waiting_since + self._max_wait_s - time.monotonic()

    def _read(self, parts: list[Part]) -> list[Part]:
        """The parts whose rows are there, once those that were not were made; the others are over."""
        read = []
        for part in parts:
            work = part.work
            prepare, work.prepare = work.prepare, None
            if prepare is not None:
                try:
                    work.rows = prepare()
                except Exception as error:
                    with self._changed:
                        self._end([work] if not work.is_over else [], error=error)
            if work.rows is not None:
                read.append(part)
        return read

    def _run(self, lane: Lane, parts: list[Part], *, operation: str) -> None:
        begun = time.perf_counter()
        parts = self._read(parts)
        if not parts:
            return
        rows = parts[0].rows if len(parts) == 1 else np.concatenate([part.rows for part in parts])
        started = time.perf_counter()
        try:
            results = lane.run(rows)
        except Exception as error:
            if len(parts) > 1:
                # One of them may be at fault: alone, each fails for itself only.
                logger.warning("a batch of %d requests failed (%s); each runs alone now", len(parts), error)
                for part in parts:
                    self._run(lane, [part], operation=operation)
                return
            logger.exception("the model failed to %s %d images", operation, len(rows))
            self._fail(lane, parts, operation=operation)
            return
        ended = time.perf_counter()
        self._observe(operation, len(rows), ended - started)
        with self._changed:
            lane.last_success = time.monotonic()
            rate = len(rows) / (ended - begun)
            self._rows_per_s += (rate - self._rows_per_s) * (_NEWEST if self._rows_per_s else 1.0)
            self._deal(parts, results, now=lane.last_success)

    def _deal(self, parts: list[Part], results: Rows, *, now: float) -> None:
        """Give each part its rows of `results`, and deliver the works that are complete by that."""
        done = []
        offset = 0
        for part in parts:
            work, size = part.work, part.stop - part.start
            share = results[offset : offset + size]
            offset += size
            if work.is_over:
                continue
            if size == work.num_rows:
                work.result = share
            else:
                if work.result is None:
                    work.result = np.empty((work.num_rows, *share.shape[1:]), dtype=share.dtype)
                work.result[part.start : part.stop] = share
            work.num_out += size
            if work.num_out == work.num_rows:
                work.infer_s = now - work.since
                work.batch_size = len(results)
                done.append(work)
        self._end(done, error=None)

    def _fail(self, lane: Lane, parts: list[Part], *, operation: str) -> None:
        error = InferenceError(
            f"the model failed to {operation} this; quote the request id when you report it"
        )
        with self._changed:
            works = [part.work for part in parts if not part.work.is_over]
            for work in works:
                lane.forget(work)
            self._end(works, error=error)

    def _end(self, works: list[Work], *, error: Exception | None) -> None:
        for work in works:
            work.is_over = True
            work.error = error
        if works:
            self._deliver(works)
