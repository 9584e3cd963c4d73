"""Which shards are complete: each has a commit record, written after its file is in place.

Shard N is `NNNNN.parquet`, its record `_job/NNNNN.json`. Nothing else says what has been done.
"""

from pydantic import ValidationError

from kohonen_tokenizer.service.runtime.manifest import Sha256, sha256_hex

from .identity import Record
from .storage import Storage

_RECORDS = "_job"


class ShardRecord(Record):
    """What a complete shard is, to the bit."""

    shard: int
    file: str
    sha256: Sha256
    bytes: int
    num_images: int
    num_failed: int
    engine: str
    """Which of the bundle's graphs ran, and on what device: elsewhere a token in a near tie may differ."""


def commit_shard(
    storage: Storage, shard: int, content: bytes, *, num_images: int, num_failed: int, engine: str
) -> ShardRecord:
    """Put a shard and then its record in place, each whole or not at all.

    Raises:
        OSError: the destination cannot be written or is full; the shard then counts as not done.
    """
    record = ShardRecord(
        shard=shard,
        file=f"{shard:05d}.parquet",
        sha256=sha256_hex(content),
        bytes=len(content),
        num_images=num_images,
        num_failed=num_failed,
        engine=engine,
    )
    # An older shard may be there and its record, which must not for a moment speak of the new file.
    storage.remove(_record_file(shard))
    storage.write(record.file, content)
    storage.write(_record_file(shard), record.model_dump_json(indent=2).encode() + b"\n")
    return record


def complete_shards(storage: Storage, *, num_shards: int) -> dict[int, ShardRecord]:
    """The records of the shards whose file is there in full length."""
    names = storage.file_names(_RECORDS)
    found = {}
    for shard in range(num_shards):
        if _record_file(shard).rpartition("/")[2] in names:
            record = read_record(storage, shard)
            if record is not None:
                found[shard] = record
    return found


def read_record(storage: Storage, shard: int) -> ShardRecord | None:
    """The record of `shard`; None where it is not complete."""
    if not storage.is_file(_record_file(shard)):
        return None
    try:
        record = ShardRecord.model_validate_json(storage.read(_record_file(shard)))
    except ValidationError:
        return None  # a crashed disk may lose what it was told to keep; the shard is made again
    return record if storage.size(record.file) == record.bytes else None


def _record_file(shard: int) -> str:
    return f"{_RECORDS}/{shard:05d}.json"
