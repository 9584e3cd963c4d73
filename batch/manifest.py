"""The manifest of a finished dataset: what it is of, and each shard to the bit."""

from typing import Literal, Self

from pydantic import ValidationError

from .errors import DatasetError
from .identity import Identity, Record
from .plan import Plan
from .shards import ShardRecord
from .storage import Storage

MANIFEST_FILE = "_manifest.json"


class DatasetManifest(Record):
    """A dataset's `_manifest.json`. It is there when every shard is."""

    schema_version: Literal[1] = 1
    identity: Identity
    source_kind: str
    source_sha256: str
    num_images: int
    """Rows, the failed among them."""
    num_failed: int
    shards: tuple[ShardRecord, ...]
    """In the order of the source."""

    @classmethod
    def of(cls, plan: Plan, records: dict[int, ShardRecord]) -> Self:
        """That of all shards of `plan`, which are complete."""
        shards = tuple(records[shard] for shard in range(plan.num_shards))
        return cls(
            identity=plan.identity,
            source_kind=plan.source_kind,
            source_sha256=plan.source_sha256,
            num_images=sum(record.num_images for record in shards),
            num_failed=sum(record.num_failed for record in shards),
            shards=shards,
        )


def write_manifest(storage: Storage, manifest: DatasetManifest) -> None:
    """Put the manifest into the dataset.

    Raises:
        OSError: it cannot be written.
    """
    storage.write(MANIFEST_FILE, manifest.model_dump_json(indent=2).encode() + b"\n")


def read_manifest(storage: Storage) -> DatasetManifest:
    """The manifest of the dataset in `storage`.

    Raises:
        DatasetError: there is none, or of another version.
    """
    if not storage.is_file(MANIFEST_FILE):
        raise DatasetError(
            f"{storage.url} has no {MANIFEST_FILE}: no dataset is there, or its job is not done; "
            "run the same encode again to finish it"
        )
    try:
        return DatasetManifest.model_validate_json(storage.read(MANIFEST_FILE))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DatasetError(
            f"{storage.url}/{MANIFEST_FILE}: {'.'.join(map(str, first['loc']))}: {first['msg']}; "
            "use the kohonen-tokenizer that wrote it"
        ) from None
