"""A progress bar: tqdm's where tqdm is installed, a line on stderr where it is not."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_REDRAW_S = 0.1


@contextmanager
def progress_bar(*, show: bool, total: int | None) -> Iterator[Callable[[int], object]]:
    """Gives a function that is told how many images more are done.

    Args:
        show: without it nothing is shown.
        total: of images, if it is known.
    """
    if not show:
        yield lambda _: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        line = ProgressLine(total=total)
        try:
            yield line.advance
        finally:
            line.close()
        return
    with tqdm(total=total, desc="encode", unit=" images", unit_scale=True) as bar:
        yield bar.update


class ProgressLine:
    """Images done, images a second and the seconds left, in a line on stderr that is drawn anew.

    Where stderr is no terminal the line comes once, at the end.
    """

    def __init__(self, *, total: int | None) -> None:
        self._total = total
        self._num_done = 0
        self._started = time.monotonic()
        self._drawn = 0.0

    def advance(self, count: int) -> None:
        """Count as many more."""
        self._num_done += count
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._drawn >= _REDRAW_S:
            self._drawn = now
            print(f"\r{self._text()}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Show how it ended."""
        start = "\r" if sys.stderr.isatty() else ""
        print(f"{start}{self._text()}", file=sys.stderr, flush=True)

    def _text(self) -> str:
        rate = self._num_done / max(time.monotonic() - self._started, 1e-9)
        if self._total is None:
            return f"encode: {self._num_done:,} images, {rate:,.0f}/s   "
        left_s = (self._total - self._num_done) / rate if rate else float("inf")
        return f"encode: {self._num_done:,} of {self._total:,} images, {rate:,.0f}/s, {left_s:,.0f} s left   "
