"""Batches made ready in another thread, while the model works on the one before."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

DEPTH = 2
"""Batches made ahead."""


class Prefetcher:
    """The batches of a run by step, made ready ahead of their use.

    Attributes:
        waited_s: seconds that calls of ``batch`` have waited, in all: the loader-bound share of a run's time.
    """

    def __init__(self, gather: Callable[[int], Tensor], *, pin_memory: bool) -> None:
        """Take what gives the batch of a step, from images that may lie on a disk.

        ``pin_memory``: put batches where a GPU can copy them from while it computes.
        """
        self.waited_s = 0.0
        self._gather = gather
        self._pin_memory = pin_memory
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._ready: dict[int, Future[Tensor]] = {}

    def batch(self, step: int) -> Tensor:
        """The images of ``step``, uint8 [B, H, W, 3]; what is gathered next are the steps after it."""
        start_s = time.monotonic()
        ahead = range(step, step + 1 + DEPTH)
        kept = {number: batch for number, batch in self._ready.items() if number in ahead}
        self._ready = {number: kept.get(number) or self._submit(number) for number in ahead}
        batch = self._ready.pop(step).result()
        self.waited_s += time.monotonic() - start_s
        return batch

    def _submit(self, step: int) -> Future[Tensor]:
        return self._thread.submit(self._make, step)

    def _make(self, step: int) -> Tensor:
        batch = self._gather(step)
        return batch.pin_memory() if self._pin_memory else batch
