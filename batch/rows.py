"""The rows of a dataset and the Parquet files that hold them: the same rows give the same bytes.

N tokens of an image, h * w.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from .identity import Identity, TokenLevel

Status = Literal["ok", "failed"]

METADATA_KEY = b"kohonen_tokenizer"
"""Of the schema's metadata: the dataset's `Identity` as JSON."""

# Part of the format, as it decides the bytes; and what bounds the memory of writing a shard of any size.
_ROWS_PER_GROUP = 10_000

_PLAIN_COLUMNS = [
    ("id", pa.string()),
    ("source", pa.string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("status", pa.string()),
    ("error", pa.string()),
    ("sha256", pa.string()),
    ("label", pa.string()),
]
_REPEATED_COLUMNS = ["source", "width", "height", "status", "error", "label"]


class Row(NamedTuple):
    """What the dataset knows of one image. A failed one has an error and no tokens."""

    id: str
    source: str
    width: int | None
    height: int | None
    """As the image is, upright; None where that is not known."""
    error: str | None
    sha256: str | None
    """Of the image file; None where it could not be read."""
    label: str | None
    tokens: tuple[npt.NDArray[np.integer[Any]], ...] | None
    """[N] for each level."""

    @property
    def status(self) -> Status:
        """Whether it has tokens."""
        return "failed" if self.tokens is None else "ok"

    def with_tokens(self, tokens: tuple[npt.NDArray[np.integer[Any]], ...]) -> "Row":
        """The same row with `tokens`."""
        return self._replace(tokens=tokens)


def failed_rows(rows: Iterable[Row]) -> list[Row]:
    """Those of `rows` that have no tokens."""
    return [row for row in rows if row.status == "failed"]


def token_dtype(level: TokenLevel) -> np.dtype[Any]:
    """What the tokens of `level` are stored as: uint16, or uint32 where that is too small."""
    return np.dtype(np.uint16 if level.codebook_size <= 2**16 else np.uint32)


class ShardWriter:
    """Collects the rows of one shard; row groups are compressed as they fill."""

    def __init__(self, identity: Identity) -> None:
        """Begin a shard of a dataset."""
        self._levels = identity.levels
        self._schema = _schema(identity)
        self._rows: list[Row] = []
        self._file = io.BytesIO()
        self._writer = pq.ParquetWriter(
            self._file,
            self._schema,
            compression="zstd",
            # Parquet stores 16-bit integers as 32: it is the dictionary that packs 512 codes into 9 bits.
            use_dictionary=_REPEATED_COLUMNS + [f"{level.name}.list.element" for level in self._levels],
        )

    def add(self, rows: Sequence[Row]) -> None:
        """Append `rows`."""
        self._rows += rows
        while len(self._rows) >= _ROWS_PER_GROUP:
            self._write_group()

    def finish(self) -> bytes:
        """The Parquet file of all rows."""
        if self._rows:
            self._write_group()
        self._writer.close()
        return self._file.getvalue()

    def _write_group(self) -> None:
        rows, self._rows = self._rows[:_ROWS_PER_GROUP], self._rows[_ROWS_PER_GROUP:]
        columns: list[pa.Array] = [
            pa.array([getattr(row, name) for row in rows], kind) for name, kind in _PLAIN_COLUMNS
        ]
        columns += (_token_column(rows, level, number=number) for number, level in enumerate(self._levels))
        table = pa.Table.from_arrays(columns, schema=self._schema)
        self._writer.write_table(table, row_group_size=_ROWS_PER_GROUP)


def read_rows(content: bytes, *, identity: Identity) -> Iterator[Row]:
    """The rows of a shard."""
    names = [name for name, _ in _PLAIN_COLUMNS if name != "status"]
    table = pq.ParquetFile(pa.BufferReader(content))
    for batch in table.iter_batches():
        plain = [batch.column(name).to_pylist() for name in names]
        levels = [tokens_of(batch.column(level.name), level=level) for level in identity.levels]
        is_ok = batch.column(identity.levels[0].name).is_valid().to_pylist()
        place = 0
        for ok, values in zip(is_ok, zip(*plain, strict=True), strict=True):
            tokens = tuple(level[place].ravel() for level in levels) if ok else None
            place += ok
            yield Row(**dict(zip(names, values, strict=True)), tokens=tokens)


def tokens_of(column: pa.Array, *, level: TokenLevel) -> npt.NDArray[np.integer[Any]]:
    """The token grids [B, h, w] of the rows of `column` that have one."""
    values: npt.NDArray[np.integer[Any]] = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, *level.latent_grid)


def _schema(identity: Identity) -> pa.Schema:
    fields = [pa.field(name, kind) for name, kind in _PLAIN_COLUMNS]
    fields += [
        pa.field(level.name, pa.list_(pa.field("element", pa.from_numpy_dtype(token_dtype(level)))))
        for level in identity.levels
    ]
    return pa.schema(fields, metadata={METADATA_KEY: identity.model_dump_json()})


def _token_column(rows: Sequence[Row], level: TokenLevel, *, number: int) -> pa.Array:
    grids = [row.tokens[number] for row in rows if row.tokens is not None]
    values = np.concatenate(grids) if grids else np.empty(0)
    lengths = [0 if row.tokens is None else row.tokens[number].size for row in rows]
    dtype = token_dtype(level)
    return pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32()),
        pa.array(values.astype(dtype)),
        type=pa.list_(pa.field("element", pa.from_numpy_dtype(dtype))),
        mask=pa.array([row.tokens is None for row in rows]),
    )
