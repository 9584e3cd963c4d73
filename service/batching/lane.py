"""One operation's queue: who came first leaves first, as whole or in parts."""

import math
import time
from collections import OrderedDict
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
        num_rows: rows in the queue.
        last_success: when a run last ended well, by `time.monotonic`; minus infinity before the first.
    """

    def __init__(self, run: Run) -> None:
        """Take what runs a batch of this operation."""
        self.run = run
        self.num_rows = 0
        self.last_success = -math.inf
        # A dictionary, for work leaves from the middle too, and with it the memory of its rows.
        self._queue: OrderedDict[Work, None] = OrderedDict()

    @property
    def waiting_since(self) -> float:
        """When the work at the head came, by `time.monotonic`, or its first part ran; there must be some."""
        return self._head.since

    def append(self, work: Work, *, urgent: bool) -> None:
        """Put `work`, with its rows, at the end of the queue, or at its head."""
        work.since = time.monotonic()
        self.num_rows += work.num_rows
        self._queue[work] = None
        if urgent:
            self._queue.move_to_end(work, last=False)

    def forget(self, work: Work) -> None:
        """Take what is left of `work` out of the queue, for it is over."""
        if work in self._queue:
            del self._queue[work]
            self.num_rows -= work.num_rows - work.num_taken

    def take(self, max_rows: int) -> tuple[list[Part], list[Work]]:
        """The next parts, of at most `max_rows` rows together, and the works that are too late.

        Large work is split over batches, and small work merged into one.
        """
        now = time.monotonic()
        parts: list[Part] = []
        late: list[Work] = []
        while self._queue and max_rows > 0:
            work = self._head
            if work.deadline < now:
                late.append(work)
                self.forget(work)
                continue
            if work.num_taken == 0:
                work.queue_s, work.since = now - work.since, now
            start = work.num_taken
            work.num_taken = min(work.num_rows, start + max_rows)
            parts.append(Part(work, start, work.num_taken))
            self.num_rows -= work.num_taken - start
            max_rows -= work.num_taken - start
            if work.num_taken == work.num_rows:
                del self._queue[work]
        return parts, late

    @property
    def _head(self) -> Work:
        return next(iter(self._queue))
