"""A value that costs too much to make twice."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Makes its value when first asked and keeps it; the threads that ask meanwhile wait for it."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._values: list[T] = []

    def get(self) -> T:
        """The value; whatever `make` raises passes through, and the next call tries again."""
        with self._lock:
            if not self._values:
                self._values.append(self._make())
            return self._values[0]
