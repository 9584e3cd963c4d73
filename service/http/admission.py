"""A bound on the requests in work, so that load beyond it is told so at once instead of waiting unseen."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import QueueFullError
from .metrics import Metrics


class Admission:
    """Counts requests in work; used on the event loop only, hence without a lock."""

    def __init__(self, *, max_pending_requests: int, metrics: Metrics) -> None:
        self._limit = max_pending_requests
        self._metrics = metrics
        self._num_pending = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one place for a request, from before its body is read.

        Raises:
            QueueFullError: every place is taken.
        """
        if self._num_pending >= self._limit:
            raise QueueFullError(
                f"{self._num_pending} requests are in work, the limit is {self._limit}; try again later"
            )
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def _change(self, step: int) -> None:
        self._num_pending += step
        self._metrics.set_pending(self._num_pending)
