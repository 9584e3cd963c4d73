"""One operation's queue: who came first leaves first, as whole or in parts."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .work import Rows, Work

Run = Callable[[Rows], Rows]


@dataclass(frozen=True, slots=True)
class Part:
    """The rows `start` to `stop` of one work: its share of a batch."""

    work: Work
    start: int
    stop: int

    @property
    def rows(self) -> Rows:
        """A view of these rows."""
        assert self.work.rows is not None
        return self.work.rows[self.start : self.stop]


class Lane:
    """The queue of one operation. Not safe by itself: the batcher's lock is around each call.

    Attributes:
        run: runs a batch [N, ...] of this operation.
        num_rows: rows in the queue that somebody waits for.
        last_success: when a run last ended well, by `time.monotonic`; minus infinity before the first.
    """

    def __init__(self, run: Run) -> None:
        """Take what runs a batch of this operation."""
        self.run = run
        self.num_rows = 0
        self.last_success = -math.inf
        self._queue: deque[Work] = deque()

    @property
    def waiting_since(self) -> float:
        """When the work at the head came, by `time.monotonic`; the queue must not be empty."""
        return self._queue[0].since

    def append(self, work: Work, *, urgent: bool) -> None:
        """Put `work`, with its rows, at the end of the queue, or at its head."""
        assert work.rows is not None
        work.since = time.monotonic()
        self.num_rows += len(work.rows)
        if urgent:
            self._queue.appendleft(work)
        else:
            self._queue.append(work)

    def forget(self, work: Work) -> None:
        """Count the rows of `work` no longer, for it is over; `take` steps over it."""
        assert work.rows is not None
        self.num_rows -= len(work.rows) - work.num_taken
        work.num_taken = len(work.rows)
        if self.num_rows == 0:
            self._queue.clear()

    def take(self, max_rows: int) -> tuple[list[Part], list[Work]]:
        """The next parts, of at most `max_rows` rows together, and the works that are too late.

        Large work is split over batches, and small work merged into one.
        """
        now = time.monotonic()
        parts: list[Part] = []
        late: list[Work] = []
        while self._queue and max_rows > 0:
            work = self._queue[0]
            assert work.rows is not None
            if work.num_taken == len(work.rows):
                self._queue.popleft()
                continue
            if work.deadline < now:
                late.append(work)
                self.forget(work)
                continue
            if work.num_taken == 0:
                work.queue_s, work.since = now - work.since, now
            start = work.num_taken
            work.num_taken = min(len(work.rows), start + max_rows)
            parts.append(Part(work, start, work.num_taken))
            self.num_rows -= work.num_taken - start
            max_rows -= work.num_taken - start
        if self.num_rows == 0:
            self._queue.clear()
        return parts, late
