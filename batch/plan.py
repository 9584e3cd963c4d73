"""The plan of a job: which images go into which shard, written down before the first is encoded.

It lies in the destination as `_job/plan.json` and `_job/pieces.parquet`, whose row group N is the pieces of
shard N. The first is written last: where it is, the plan is whole.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import PositiveInt, ValidationError

from kohonen_tokenizer.service.runtime.manifest import Sha256

from .errors import DatasetError, MismatchError, SourceError
from .identity import Identity, Record
from .sources.source import Kind, Piece, Source
from .storage import Storage

PLAN_FILE = "_job/plan.json"
PIECES_FILE = "_job/pieces.parquet"

_PIECES = pa.schema(
    [("path", pa.string()), ("start", pa.int64()), ("stop", pa.int64()), ("num_images", pa.int64())]
)


class Plan(Record):
    """What a job is to do. Two jobs with equal plans write the same bytes."""

    schema_version: Literal[1] = 1
    identity: Identity
    source_kind: Kind
    source_columns: dict[str, str]
    """Of a table, the column by each role."""
    source_sha256: Sha256
    """Of the names and numbers of rows of all pieces: not of the images, which nobody has read yet."""
    rows_per_shard: PositiveInt
    num_shards: PositiveInt
    num_images: int | None
    """None where only reading all of it would tell, as with tars."""

    def require_same(self, planned: "Plan", *, where: str, as_planned: bool) -> None:
        """Return if the job `planned` at `where` is this one.

        Args:
            planned: the plan to carry on with.
            where: the destination.
            as_planned: whether other images in the source than were planned are no reason to stop.

        Raises:
            MismatchError: it is another.
        """
        self.identity.require_equal(planned.identity, where=where)
        for name in ("source_kind", "source_columns", "rows_per_shard"):
            ours, theirs = getattr(self, name), getattr(planned, name)
            if ours != theirs:
                raise MismatchError(
                    f"{where} was begun with {name} {theirs}, and this job's is {ours}; "
                    "give another DEST, or the same options"
                )
        if self.source_sha256 != planned.source_sha256 and not as_planned:
            raise MismatchError(
                f"the source has changed since {where} was begun: {_count(self)} now, "
                f"{_count(planned)} then; give another DEST, or --as-planned to finish what was begun"
            )


def make_plan(source: Source, *, identity: Identity, rows_per_shard: int) -> tuple[Plan, bytes]:
    """List `source` and cut it into shards: the plan, and the content of the file of pieces.

    Of all pieces it holds no more in memory than that file, compressed: some bytes for each.

    Raises:
        SourceError: there are no images, or a file's name is no text.
    """
    digest = hashlib.sha256()
    num_shards = num_images = 0
    is_counted = True
    file = io.BytesIO()
    with pq.ParquetWriter(file, _PIECES, compression="zstd") as writer:
        for pieces in _cut(source.pieces(), rows_per_shard=rows_per_shard):
            try:
                digest.update("".join(f"{piece}\n" for piece in pieces).encode())
            except UnicodeEncodeError as error:
                raise SourceError(f"a file's name is no UTF-8 ({error}); rename it") from None
            table = pa.table(dict(zip(_PIECES.names, zip(*pieces, strict=True), strict=True)), schema=_PIECES)
            writer.write_table(table, row_group_size=len(table))
            num_shards += 1
            num_images += sum(piece.num_images or 0 for piece in pieces)
            is_counted = is_counted and pieces[0].num_images is not None
    if not num_shards:
        raise SourceError(f"the source ({source.kind}) has no images; give one that has")
    plan = Plan(
        identity=identity,
        source_kind=source.kind,
        source_columns=source.columns,
        source_sha256=digest.hexdigest(),
        rows_per_shard=rows_per_shard,
        num_shards=num_shards,
        num_images=num_images if is_counted else None,
    )
    return plan, file.getvalue()


def write_plan(storage: Storage, plan: Plan, *, pieces: bytes) -> None:
    """Put the plan into the destination.

    Raises:
        OSError: it cannot be written.
    """
    storage.write(PIECES_FILE, pieces)
    storage.write(PLAN_FILE, plan.model_dump_json(indent=2).encode() + b"\n")


def read_plan(storage: Storage) -> Plan | None:
    """The plan in the destination, or None where none was completed.

    Raises:
        DatasetError: it is of another version of this program.
    """
    if not storage.is_file(PLAN_FILE):
        return None
    try:
        return Plan.model_validate_json(storage.read(PLAN_FILE))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DatasetError(
            f"{storage.url}/{PLAN_FILE}: {'.'.join(map(str, first['loc']))}: {first['msg']}; "
            "give another DEST, or use the kohonen-tokenizer that began it"
        ) from None


def read_pieces(storage: Storage, *, shard: int) -> list[Piece]:
    """What belongs into `shard`."""
    with storage.open(PIECES_FILE) as file, pq.ParquetFile(file) as table:
        columns = table.read_row_group(shard).to_pydict().values()
    return [Piece(*row) for row in zip(*columns, strict=True)]


def _cut(pieces: Iterable[Piece], *, rows_per_shard: int) -> Iterator[list[Piece]]:
    """Pieces together until they have so many images; one that is not counted is a shard alone."""
    shard: list[Piece] = []
    num_images = 0
    for piece in pieces:
        if piece.num_images is None:
            yield [piece]
            continue
        if shard and num_images + piece.num_images > rows_per_shard:
            yield shard
            shard, num_images = [], 0
        shard.append(piece)
        num_images += piece.num_images
    if shard:
        yield shard


def _count(plan: Plan) -> str:
    return f"{plan.num_shards:,} tars" if plan.num_images is None else f"{plan.num_images:,} images"
