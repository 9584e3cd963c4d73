"""Is a dataset still what its manifest says? Everything is read again."""

import io
from collections.abc import Iterator

import pyarrow.compute as pc
import pyarrow.parquet as pq

from kohonen_tokenizer.service.runtime.manifest import sha256_hex

from .identity import Identity
from .manifest import DatasetManifest
from .rows import METADATA_KEY
from .shards import ShardRecord
from .storage import Storage


def find_flaws(storage: Storage, manifest: DatasetManifest) -> Iterator[str]:
    """A line for each file that is missing, changed or too many; none where all is well."""
    for record in manifest.shards:
        if flaw := _flaw(storage, record, identity=manifest.identity):
            yield f"{record.file}: {flaw}"
    listed = {record.file for record in manifest.shards}
    for name in sorted(storage.file_names("")):
        if name.endswith(".parquet") and name not in listed:
            yield f"{name}: the manifest does not list it, and readers of the folder would take it for a part"


def _flaw(storage: Storage, record: ShardRecord, *, identity: Identity) -> str | None:
    try:
        content = storage.read(record.file)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    sha256 = sha256_hex(content)
    if sha256 != record.sha256:
        return f"has sha256 {sha256}, and the manifest says {record.sha256}"
    table = pq.ParquetFile(io.BytesIO(content))
    if (table.schema_arrow.metadata or {}).get(METADATA_KEY) != identity.model_dump_json().encode():
        return "its metadata names another model, policy or codebook than the manifest"
    num_failed = pc.sum(pc.equal(table.read(["status"])["status"], "failed")).as_py() or 0
    if (table.metadata.num_rows, num_failed) != (record.num_images, record.num_failed):
        return (
            f"has {table.metadata.num_rows} rows and {num_failed} failed ones, and the manifest says "
            f"{record.num_images} and {record.num_failed}"
        )
    return None
