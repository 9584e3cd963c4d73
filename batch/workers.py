"""The local engine: worker processes, each with a model of its own, take one shard after another.

On a CPU two models of one thread encode more images than one model of two threads, and processes do not wait
for each other's interpreter. On a GPU they take turns: while one decodes images another has the device.
"""

import os
import signal
import sys
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial

from kohonen_tokenizer.parent_process import when_parent_ends
from kohonen_tokenizer.service.runtime.threads import available_threads

from .encoding import ShardEncoder, Work
from .errors import WorkerError
from .shards import ShardRecord
from .tally import CONTEXT, Tally

# The reading thread of a worker and the one that encodes hand each other the interpreter; the default of 5 ms
# is as long as ten images take.
_SWITCH_INTERVAL_S = 0.0005


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalEngine:
    """Processes of this machine. One that dies ends the job."""

    num_workers: int = 1
    """A single one is this process."""

    @property
    def num_threads(self) -> int:
        """A worker's share of the CPUs."""
        return max(1, available_threads() // self.num_workers)

    def encode_shards(
        self, work: Work, shards: Sequence[int], *, tally: Tally
    ) -> Generator[ShardRecord, None, None]:
        """Encode `shards`, as Engine has it."""
        num_workers = min(self.num_workers, len(shards))
        if num_workers == 1:
            yield from map(Worker(work, tally).encode, shards)
        else:
            yield from _encode_in_processes(work, shards, num_workers=num_workers, tally=tally)


def _encode_in_processes(
    work: Work, shards: Sequence[int], *, num_workers: int, tally: Tally
) -> Generator[ShardRecord, None, None]:
    with ProcessPoolExecutor(num_workers, CONTEXT, initializer=_begin, initargs=(work, tally)) as pool:
        futures = [pool.submit(_encode, shard) for shard in shards]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise WorkerError(
                "a worker process died (was it killed, or out of memory?); the same command carries on, "
                "with fewer --workers where memory is short"
            ) from None
        finally:
            tally.stop()
            pool.shutdown(cancel_futures=True)


class Worker:
    """What a worker holds: its job, and the model once the first shard has come."""

    def __init__(self, work: Work, tally: Tally) -> None:
        """Take the job and what counts it; the model is not started yet."""
        self._work = work
        self._tally = tally
        self._encoder: ShardEncoder | None = None

    def encode(self, shard: int) -> ShardRecord:
        """Encode `shard`, as `ShardEncoder.encode` does, which is loaded for the first."""
        # Not when the process starts: what is raised there would be printed, and lost to the job.
        if self._encoder is None:
            self._encoder = ShardEncoder.load(self._work)
        return self._encoder.encode(shard, tally=self._tally)


_worker: Worker


def hurry_threads() -> None:
    """Have the threads of this process, a worker's own, take turns more often."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def _begin(work: Work, tally: Tally) -> None:
    global _worker
    _worker = Worker(work, tally)
    # Ctrl-C reaches every process of a terminal; the job stops its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hurry_threads()
    # A job that was killed leaves nobody behind who would write on.
    when_parent_ends(partial(os._exit, 1))


def _encode(shard: int) -> ShardRecord:
    return _worker.encode(shard)
