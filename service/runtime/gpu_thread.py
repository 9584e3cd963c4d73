"""Which thread may use the GPU, and when.

Two facts about CUDA graphs ask for this. onnxruntime keeps a captured graph with the thread that captured
it: another thread would capture its own. And while one thread captures, a copy or an allocation on the GPU by
any other thread of the process makes the capture fail. So a backend does all its work in one thread of its
own, and of all backends, of which there are two while one bundle takes the place of another, one runs at a
time.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .backend import Graph

T = TypeVar("T")

exclusive_gpu = threading.Lock()
"""Held for one run or one capture."""

_loading = threading.Lock()


class GpuThread:
    """The thread of one backend. It ends when nobody holds this object any more."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gpu")

    def load(self, work: Callable[[], T]) -> T:
        """Do `work` in the thread, and alone: loading allocates, and not all of it under `exclusive_gpu`."""
        with _loading:
            return self.run(work)

    def run(self, work: Callable[[], T]) -> T:
        """Do `work` in the thread, and wait for it."""
        return self._executor.submit(work).result()

    def wrap(self, graph: Graph) -> Graph:
        """`graph`, which then always runs in the thread."""
        return lambda rows: self.run(lambda: graph(rows))
