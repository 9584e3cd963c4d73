"""The local engine: worker processes, each with a model of its own, take one shard after another.

On a CPU two models of one thread encode more images than one model of two threads, and processes do not wait
for each other's interpreter. On a GPU they take turns: while one decodes images another has the device.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import parent_process
from multiprocessing.connection import wait as wait_for_objects
from threading import Thread

from .encoding import ShardEncoder, Work
from .errors import WorkerError
from .shards import ShardRecord
from .tally import CONTEXT, Tally

# The reading thread of a worker and the one that encodes hand each other the interpreter; the default of 5 ms
# is as long as ten images take.
_SWITCH_INTERVAL_S = 0.0005


def encode_shards(
    work: Work, shards: Sequence[int], *, num_workers: int, tally: Tally
) -> Iterator[ShardRecord]:
    """Encode `shards` and yield the record of each as it is complete, in any order.

    Args:
        work: the job.
        shards: what is to be done.
        num_workers: processes; a single worker is this one.
        tally: counts what is done.

    Raises:
        WorkerError: a process died.
        BatchError: what ended a worker; all others have stopped when it is raised.
        OSError: the destination cannot be written or is full.
        TokenizerError: the model does not start.
    """
    if num_workers == 1 or len(shards) < 2:
        return _encode_here(work, shards, tally=tally)
    return _encode_in_processes(work, shards, num_workers=min(num_workers, len(shards)), tally=tally)


def _encode_here(work: Work, shards: Sequence[int], *, tally: Tally) -> Iterator[ShardRecord]:
    worker = _Worker(work, tally)
    return map(worker.encode, shards)


def _encode_in_processes(
    work: Work, shards: Sequence[int], *, num_workers: int, tally: Tally
) -> Iterator[ShardRecord]:
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


class _Worker:
    """What a worker holds: its job, and the model once the first shard has come."""

    def __init__(self, work: Work, tally: Tally) -> None:
        self._work = work
        self._tally = tally
        self._encoder: ShardEncoder | None = None

    def encode(self, shard: int) -> ShardRecord:
        # Not when the process starts: what is raised there would be printed, and lost to the job.
        if self._encoder is None:
            self._encoder = ShardEncoder.load(self._work)
        return self._encoder.encode(shard, tally=self._tally)


_worker: _Worker


def _begin(work: Work, tally: Tally) -> None:
    global _worker
    _worker = _Worker(work, tally)
    # Ctrl-C reaches every process of a terminal; the job stops its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _encode(shard: int) -> ShardRecord:
    return _worker.encode(shard)


def _end_with_parent() -> None:
    """A job that was killed leaves nobody behind who would write on."""
    parent = parent_process()
    assert parent is not None  # this is a worker
    wait_for_objects([parent.sentinel])
    os._exit(1)
