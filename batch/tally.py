"""What all workers of a job have done so far, and the word to stop: shared between their processes."""

import multiprocessing
from collections.abc import Sequence

from .errors import ErrorLimitError
from .rows import Row

# Spawned and not forked: threads of pyarrow and onnxruntime do not survive a fork.
CONTEXT = multiprocessing.get_context("spawn")


class StoppedError(Exception):
    """The job was told to stop; the shard that was being encoded is not done."""


class Tally:
    """Counts images and failures; may be handed to a process when it starts."""

    def __init__(self, *, max_errors: int | None) -> None:
        """Begin at zero; more than `max_errors` failed images end the job."""
        self.max_errors = max_errors
        self._num_images = CONTEXT.Value("q", 0)
        self._num_failed = CONTEXT.Value("q", 0)
        self._stop = CONTEXT.Event()

    @property
    def num_images(self) -> int:
        """Images done in this run, the failed among them."""
        return int(self._num_images.value)

    @property
    def num_failed(self) -> int:
        """Images that failed in this run."""
        return int(self._num_failed.value)

    def add(self, num_images: int, *, failed: Sequence[Row]) -> None:
        """Count images that are done, of which `failed` have no tokens.

        Raises:
            ErrorLimitError: more have failed than may.
            StoppedError: the job stops.
        """
        with self._num_images:
            self._num_images.value += num_images
        if failed:
            with self._num_failed:
                self._num_failed.value += len(failed)
                num_failed = self._num_failed.value
            if self.max_errors is not None and num_failed > self.max_errors:
                raise ErrorLimitError(
                    f"{failed[-1].id}: {failed[-1].error}; {num_failed:,} images failed in this run, and the "
                    f"limit is {self.max_errors:,}: mend them, or raise --max-errors"
                )
        if self._stop.is_set():
            raise StoppedError

    def stop(self) -> None:
        """Have every worker stop at its next batch."""
        self._stop.set()
