"""Batches of any size on a GPU that gains from a few fixed ones.

A CUDA graph is captured for one batch size and replays it from and to fixed addresses. So a batch is copied
into the buffers of the smallest size, the bucket, that holds it; what the surplus rows compute is dropped.
Rows do not depend on each other, so nothing needs to be put into the surplus.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .gpu_thread import exclusive_gpu
from .tensors import Rows

BUCKETS = (1, 4, 16, 64)
"""Batch sizes, ascending. They are few, for each takes memory and a capture at start-up."""


class FixedBatch(Protocol):
    """A graph that is ready to run on one batch size, with buffers of its own on the host."""

    @property
    def source(self) -> Rows:
        """The input buffer [size, ...], to be filled before a run."""

    @property
    def target(self) -> Rows:
        """The output buffer [size, ...], valid after a run and until the next."""

    def run(self) -> None:
        """Compute `target` from `source`."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows `start` to `stop` of a batch, which run together in the bucket `size`."""

    start: int
    stop: int
    size: int


def split_into_buckets(num_rows: int, *, sizes: Sequence[int]) -> Iterator[Piece]:
    """Pieces that cover `num_rows` rows: of the largest size, and for the rest of the smallest that holds it.

    `sizes` ascend.
    """
    for start in range(0, num_rows, sizes[-1]):
        stop = min(start + sizes[-1], num_rows)
        yield Piece(start, stop, min(size for size in sizes if size >= stop - start))


class BucketedGraph:
    """A graph for batches of any size, made of one for each bucket."""

    def __init__(self, batches: Sequence[FixedBatch]) -> None:
        """Take the graph at each batch size, and run each once: what is set up at its first run, is now."""
        self._batches = {len(batch.source): batch for batch in batches}
        self._sizes = sorted(self._batches)
        for batch in batches:
            with exclusive_gpu:
                batch.run()

    def __call__(self, rows: Rows) -> Rows:
        """The output rows [B, ...] of the input rows [B, ...], B of at least 1, in a new array."""
        outputs = []
        for piece in split_into_buckets(len(rows), sizes=self._sizes):
            batch, num_rows = self._batches[piece.size], piece.stop - piece.start
            batch.source[:num_rows] = rows[piece.start : piece.stop]
            with exclusive_gpu:
                batch.run()
            outputs.append(batch.target[:num_rows].copy())
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)
