"""A shard from its pieces to its commit record: the work that an engine deals out.

B images of a batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
import numpy.typing as npt

from kohonen_tokenizer.pixels import Pixels
from kohonen_tokenizer.service.runtime.backends import load_backend
from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.devices import Device
from kohonen_tokenizer.service.runtime.manifest import GraphFormat
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from .identity import Identity
from .plan import Plan, read_pieces
from .preparation import Prepared, prepare
from .read_ahead import read_ahead
from .rows import Row, ShardWriter, failed_rows, read_rows
from .shards import ShardRecord, commit_shard, read_record
from .sources.source import Sample, Source
from .storage import Storage
from .tally import Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """All that a worker must know. Can be pickled."""

    plan: Plan
    source: Source
    destination: Storage
    bundle: str
    device: Device
    backend: GraphFormat
    num_threads: int
    """Of the model on the CPU."""
    batch_size: int | None
    """Images of one run of the model; None for what the backend gains most from."""
    keep_good_rows: bool
    """Take the rows with tokens from the shard that is there, and encode the rest."""


class ShardEncoder:
    """Encodes shards of one job, one after another."""

    def __init__(self, work: Work, *, tokenizer: Tokenizer) -> None:
        """Take the job and its model; `load` starts the model."""
        self._work = work
        self._tokenizer = tokenizer
        self._batch_size = work.batch_size or tokenizer.backend.max_batch_size

    @classmethod
    def load(cls, work: Work) -> Self:
        """Start the model of `work` in this process.

        Raises:
            TokenizerError: it does not start.
            MismatchError: the bundle was exchanged after the job began.
        """
        bundle = load_bundle(work.bundle, graph_format=work.backend)
        expected = work.plan.identity
        Identity.of(bundle, resize=expected.preprocessing.resize).require_equal(expected, where=work.bundle)
        backend = load_backend(bundle, device=work.device, num_threads=work.num_threads)
        return cls(work, tokenizer=Tokenizer(bundle, backend=backend))

    def encode(self, shard: int, *, tally: Tally) -> ShardRecord:
        """Encode `shard`, put it in place and commit it.

        Raises:
            OSError: the destination cannot be written or is full.
            ErrorLimitError: too many images have failed.
            StoppedError: the job stops.
        """
        work = self._work
        destination = work.destination
        pieces = read_pieces(destination, shard=shard)
        kept = self._good_rows(shard) if work.keep_good_rows else {}
        writer = ShardWriter(work.plan.identity)
        num_images = num_failed = 0
        for batch in self._batches(work.source.samples(pieces), kept=kept):
            rows = self._encode_batch(batch)
            failed = failed_rows(rows)
            writer.add(rows)
            num_images += len(rows)
            num_failed += len(failed)
            tally.add(len(rows), failed=failed)
        return commit_shard(
            destination,
            shard,
            writer.finish(),
            num_images=num_images,
            num_failed=num_failed,
            engine=f"{work.backend} on {work.device}",
        )

    def _batches(self, samples: Iterator[Sample], *, kept: dict[str, Row]) -> Iterator[list[Prepared]]:
        """Images as the model takes them, of one run each."""
        preprocessing = self._work.plan.identity.preprocessing
        groups = iter(lambda: list(islice(samples, self._batch_size)), [])
        batches = (
            [
                Prepared(kept[sample.id], None)
                if sample.id in kept
                else prepare(sample, preprocessing=preprocessing)
                for sample in group
            ]
            for group in groups
        )
        # Where the model has the CPU, the workers overlap with each other: to read ahead as well would cost a
        # twentieth of the rate of small images, for threads that take turns.
        waits = self._work.device != "cpu" or not self._work.source.is_local
        return read_ahead(batches) if waits else batches

    def _encode_batch(self, prepared: Sequence[Prepared]) -> list[Row]:
        pixels = [image.pixels for image in prepared if image.pixels is not None]
        tokens = iter(self._tokens(np.stack(pixels)) if pixels else ())
        return [
            image.row if image.pixels is None else image.row.with_tokens(next(tokens)) for image in prepared
        ]

    def _tokens(self, pixels: Pixels) -> Iterator[tuple[npt.NDArray[np.int32], ...]]:
        """For each image its tokens, [N] for each level."""
        levels = self._tokenizer.split_rows(self._tokenizer.encode_rows(pixels))
        return zip(*(grids.reshape(len(pixels), -1) for grids in levels.values()), strict=True)

    def _good_rows(self, shard: int) -> dict[str, Row]:
        """The rows with tokens, by id, of the shard that is there."""
        destination, plan = self._work.destination, self._work.plan
        record = read_record(destination, shard)
        if record is None:
            return {}
        rows = read_rows(destination.read(record.file), identity=plan.identity)
        return {row.id: row for row in rows if row.status == "ok"}
