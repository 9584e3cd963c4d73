"""A finished dataset, for what reads it: its rows and its failures, a shard at a time."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from .identity import Identity
from .manifest import DatasetManifest, read_manifest
from .storage import Storage


class Dataset:
    """A folder of shards and their manifest."""

    def __init__(self, storage: Storage) -> None:
        """Open the dataset in `storage`.

        Raises:
            DatasetError: there is none, or its job is not done.
        """
        self.storage = storage
        self.manifest: DatasetManifest = read_manifest(storage)
        self.identity: Identity = self.manifest.identity

    def tables(self, columns: list[str]) -> Iterator[pa.Table]:
        """Some columns of each shard, in the order of the source."""
        for record in self.manifest.shards:
            with self.storage.open(record.file) as file:
                yield pq.read_table(file, columns=columns)

    def failures(self, *, limit: int) -> list[tuple[str, str]]:
        """The id and the error of the first `limit` failed images."""
        found: list[tuple[str, str]] = []
        for record in self.manifest.shards:
            if record.num_failed and len(found) < limit:
                # In this thread: a command ends right after, and a thread of pyarrow's that still holds the
                # file would then abort a process in which Ray is.
                with self.storage.open(record.file) as file, pq.ParquetFile(file, pre_buffer=False) as table:
                    rows = table.read(columns=["id", "status", "error"], use_threads=False).to_pylist()
                found += ((row["id"], row["error"]) for row in rows if row["status"] == "failed")
        return found[:limit]
