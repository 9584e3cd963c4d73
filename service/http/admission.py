"""Which requests are let in: as many as there are places for, and memory for their bodies.

All of it is for the event loop alone, hence without locks.
"""

import math
from collections.abc import Callable
from typing import Self

from ..errors import QueueFullError
from .settings import Settings


class Admission:
    """The places of a service.

    Attributes:
        num_pending: requests in work, bodies under way included.
        num_bytes: bytes of their bodies so far.
    """

    def __init__(self, settings: Settings, *, queue_s: Callable[[], float]) -> None:
        """Take the limits, and what tells in how many seconds there may be room."""
        self.num_pending = 0
        self.num_bytes = 0
        self._settings = settings
        self._queue_s = queue_s

    def enter(self) -> None:
        """Count one more request.

        Raises:
            QueueFullError: every place is taken.
        """
        limit = self._settings.max_pending_requests
        if self.num_pending >= limit:
            raise QueueFullError(
                f"{self.num_pending} requests are in work, the limit is {limit}; try again later",
                retry_after_s=self._queue_s(),
            )
        self.num_pending += 1

    def add_bytes(self, num_bytes: int) -> None:
        """Count `num_bytes` more in memory.

        Raises:
            QueueFullError: there is no room for them.
        """
        limit = self._settings.max_pending_bytes
        if self.num_bytes + num_bytes > limit:
            raise QueueFullError(
                f"bodies of {self.num_bytes} bytes are in work, the limit is {limit}; try again later",
                retry_after_s=self._queue_s(),
            )
        self.num_bytes += num_bytes

    def leave(self, num_bytes: int) -> None:
        """Count one request less, whose body had `num_bytes`."""
        self.num_pending -= 1
        self.num_bytes -= num_bytes


class Place:
    """A request's place among those in work, while its context lasts: from before its body is read.

    Attributes:
        deadline: the time, of `time.monotonic`, at which the request must have its result.
    """

    __slots__ = ("_admission", "_num_bytes", "deadline")

    def __init__(self, admission: Admission, *, deadline: float = math.inf) -> None:
        """Ask for a place; entering the context takes it, or raises QueueFullError."""
        self.deadline = deadline
        self._admission = admission
        self._num_bytes = 0

    def __enter__(self) -> Self:
        self._admission.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.leave(self._num_bytes)

    def add_bytes(self, num_bytes: int) -> None:
        """Count `num_bytes` more of the body in memory.

        Raises:
            QueueFullError: there is no room for them.
        """
        self._admission.add_bytes(num_bytes)
        self._num_bytes += num_bytes
