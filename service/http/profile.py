"""A profile of all threads: what their Python stacks were, many times a second."""

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

from ..errors import QueueFullError

SAMPLES_PER_S = 100

# From the outermost call inward; the first entry is the thread's name.
Stack = tuple[str, ...]


class Profiler:
    """Takes profiles of this process, one at a time."""

    def __init__(self) -> None:
        self._is_busy = False

    async def profile(self, seconds: float, *, is_over: Callable[[], bool]) -> Counter[Stack]:
        """As `sample_stacks`, in a thread of its own. For the event loop alone, hence without a lock.

        Raises:
            QueueFullError: another profile is being taken.
        """
        if self._is_busy:
            raise QueueFullError("a profile is being taken; try again when it is done", retry_after_s=seconds)
        self._is_busy = True
        try:
            return await asyncio.to_thread(sample_stacks, seconds, is_over=is_over)
        finally:
            self._is_busy = False


def sample_stacks(seconds: float, *, is_over: Callable[[], bool]) -> Counter[Stack]:
    """How often each stack was met within `seconds`; blocks, and ends early when `is_over`.

    Python's frames alone: time in a library of C counts for the function that called it.
    """
    labels: dict[CodeType, str] = {}
    counts: Counter[Stack] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not is_over():
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for thread_id, frame in sys._current_frames().items():
            if thread_id != threading.get_ident():
                calls = [_label(caller.f_code, labels) for caller in _callers(frame)]
                counts[(names.get(thread_id, "unknown"), *reversed(calls))] += 1
        time.sleep(1 / SAMPLES_PER_S)
    return counts


def to_collapsed(counts: Mapping[Stack, int]) -> str:
    """A stack and its count a line, as flame graph tools read it."""
    return "".join(f"{';'.join(stack)} {count}\n" for stack, count in sorted(counts.items()))


def to_speedscope(counts: Mapping[Stack, int]) -> dict[str, Any]:
    """The same as a file for speedscope, a profile for each thread, in seconds."""
    frames = {
        name: index for index, name in enumerate(sorted({name for stack in counts for name in stack[1:]}))
    }
    profiles = []
    for thread in sorted({stack[0] for stack in counts}):
        samples = [(stack, count) for stack, count in sorted(counts.items()) if stack[0] == thread]
        weights = [count / SAMPLES_PER_S for _, count in samples]
        profiles.append(
            {
                "type": "sampled",
                "name": thread,
                "unit": "seconds",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": [[frames[name] for name in stack[1:]] for stack, _ in samples],
                "weights": weights,
            }
        )
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "shared": {"frames": [{"name": name} for name in frames]},
        "profiles": profiles,
    }


def _callers(frame: FrameType) -> Iterator[FrameType]:
    current: FrameType | None = frame
    while current is not None:
        yield current
        current = current.f_back


def _label(code: CodeType, known: dict[CodeType, str]) -> str:
    if code not in known:
        module = "/".join(code.co_filename.split("/")[-2:])
        known[code] = f"{code.co_qualname} ({module}:{code.co_firstlineno})"
    return known[code]
