"""What an engine is: whatever deals out the shards of a job to workers.

It decides who encodes a shard and when, and never what comes out: the bytes, the commit records and what a
rerun has to do are the shard encoder's, so a job that one engine began another may finish.
"""

from collections.abc import Generator, Sequence
from typing import Protocol

from .encoding import Work
from .shards import ShardRecord
from .tally import Tally


class Engine(Protocol):
    """Deals out shards."""

    @property
    def num_threads(self) -> int:
        """Of each worker's model on the CPU, where the job names no number."""

    def encode_shards(
        self, work: Work, shards: Sequence[int], *, tally: Tally
    ) -> Generator[ShardRecord, None, None]:
        """Encode `shards` and yield the record of each as it is complete, in any order.

        All workers have stopped when the generator is closed.

        Args:
            work: the job.
            shards: what is to be done, at least one.
            tally: counts what is done.

        Raises:
            WorkerError: workers died, and the engine does not go on without them.
            BatchError: what ended a worker; all others have stopped when it is raised.
            OSError: the destination cannot be written or is full.
            TokenizerError: the model does not start.
        """
