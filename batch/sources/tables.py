"""Tables with a column of images: Parquet and Arrow files, and with them Hugging Face datasets on disk.

A column holds the image files as binary, or as Hugging Face has them: structs of `bytes` and `path`.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import SourceError
from ..storage import Storage
from .source import Kind, Piece, Sample

# Rows read at once.
_BATCH_ROWS = 64
# Rows of a piece, at least, where the file has as many: Hugging Face writes row groups of a hundred.
_PIECE_ROWS = 2048


class ParquetSource:
    """The rows of Parquet files."""

    kind: Kind = "parquet"

    def __init__(self, storage: Storage, *, paths: Sequence[str], columns: dict[str, str]) -> None:
        """Take the folder, the files in it, and the columns to read by their roles."""
        self.storage = storage
        self.is_local = storage.is_local
        self._paths = paths
        self.columns = columns

    def pieces(self) -> Iterator[Piece]:
        """Runs of whole row groups."""
        for path in self._paths:
            with self.storage.open(path) as file, pq.ParquetFile(file) as table:
                groups = map(table.metadata.row_group, range(table.num_row_groups))
                yield from _pieces(path, (group.num_rows for group in groups))

    def samples(self, pieces: Sequence[Piece]) -> Iterator[Sample]:
        """The images of the rows. A file that breaks off ends in a failed sample, named as the file."""
        for piece in pieces:
            try:
                with self.storage.open(piece.path) as file, pq.ParquetFile(file) as table:
                    yield from self._rows(table, piece=piece)
            except (OSError, pa.ArrowException) as error:
                yield _broken(piece, error)

    def _rows(self, table: pq.ParquetFile, *, piece: Piece) -> Iterator[Sample]:
        assert piece.start is not None
        assert piece.stop is not None
        groups, first = [], 0
        for group in range(table.num_row_groups):
            if piece.start <= first < piece.stop:
                groups.append(group)
            first += table.metadata.row_group(group).num_rows
        row = piece.start
        for batch in table.iter_batches(_BATCH_ROWS, row_groups=groups, columns=[*self.columns.values()]):
            yield from _samples(batch, columns=self.columns, path=piece.path, first_row=row)
            row += len(batch)


class ArrowSource:
    """The rows of Arrow files, in the stream format or the file format, cut into record batches."""

    kind: Kind = "arrow"

    def __init__(self, storage: Storage, *, paths: Sequence[str], columns: dict[str, str]) -> None:
        """Take the folder, the files in it, and the columns to read by their roles."""
        self.storage = storage
        self.is_local = storage.is_local
        self._paths = paths
        self.columns = columns

    def pieces(self) -> Iterator[Piece]:
        """Runs of whole record batches."""
        for path in self._paths:
            with self.storage.open(path) as file:
                yield from _pieces(path, map(len, _arrow_batches(self._mapped(path, file))))

    def samples(self, pieces: Sequence[Piece]) -> Iterator[Sample]:
        """The images of the rows. A file that breaks off ends in a failed sample, named as the file."""
        for piece in pieces:
            try:
                with self.storage.open(piece.path) as file:
                    yield from self._rows(self._mapped(piece.path, file), piece=piece)
            except (OSError, pa.ArrowException) as error:
                yield _broken(piece, error)

    def _rows(self, file: Any, *, piece: Piece) -> Iterator[Sample]:
        assert piece.start is not None
        assert piece.stop is not None
        row = 0
        for batch in _arrow_batches(file):
            if row >= piece.stop:
                return
            if row >= piece.start:
                chosen = batch.select([*self.columns.values()])
                for first in range(0, len(chosen), _BATCH_ROWS):
                    rows = chosen.slice(first, _BATCH_ROWS)
                    yield from _samples(rows, columns=self.columns, path=piece.path, first_row=row + first)
            row += len(batch)

    def _mapped(self, path: str, file: BinaryIO) -> Any:
        # To walk over the batches of a file that is mapped reads their headers only.
        return pa.memory_map(str(self.storage.local_path(path))) if self.storage.is_local else file


def find_columns(
    schema: pa.Schema, *, path: str, image: str | None, label: str | None, identifier: str | None
) -> dict[str, str]:
    """The columns of a table by their roles: those that are named, or the only one that may hold images, and
    `label`.

    Raises:
        SourceError: a column that is named is not there, or none or several may hold images.
    """
    for name in (image, label, identifier):
        if name is not None and name not in schema.names:
            raise SourceError(f"{path} has no column {name}; it has {', '.join(schema.names)}")
    candidates = [field.name for field in schema if _may_hold_images(field.type)]
    if image is None:
        if len(candidates) != 1:
            raise SourceError(
                f"{path}: {len(candidates)} columns may hold images ({', '.join(candidates) or 'none'}); "
                "name one with --image-column"
            )
        image = candidates[0]
    elif image not in candidates:
        raise SourceError(
            f"{path}: column {image} is of type {schema.field(image).type}; give one of binary, "
            "or of structs with bytes"
        )
    if label is None and "label" in schema.names:
        label = "label"
    roles = {"image": image, "label": label, "id": identifier}
    return {role: name for role, name in roles.items() if name is not None}


def read_schema(storage: Storage, path: str) -> pa.Schema:
    """The columns of a Parquet or an Arrow file.

    Raises:
        SourceError: it is neither.
    """
    try:
        with storage.open(path) as file:
            if path.lower().endswith(".parquet"):
                with pq.ParquetFile(file) as table:
                    return table.schema_arrow
            return _arrow_schema(file)
    except pa.ArrowException as error:
        raise SourceError(f"{path} cannot be read ({error}); give whole Parquet or Arrow files") from None


def files_of_dataset(storage: Storage, *, folder: str) -> set[str] | None:
    """The names of the Arrow files of the Hugging Face dataset in `folder`; None where there is none.

    datasets lists them in state.json: others beside them are its caches.
    """
    state = f"{folder}state.json"
    if not storage.is_file(state):
        return None
    return {entry["filename"] for entry in json.loads(storage.read(state))["_data_files"]}


def _arrow_schema(file: BinaryIO) -> pa.Schema:
    try:
        with pa.ipc.open_file(file) as table:
            return table.schema
    except pa.ArrowInvalid:
        file.seek(0)
        with pa.ipc.open_stream(file) as table:
            return table.schema


def _arrow_batches(file: Any) -> Iterator[pa.RecordBatch]:
    try:
        table = pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        file.seek(0)
        yield from pa.ipc.open_stream(file)
        return
    yield from (table.get_batch(number) for number in range(table.num_record_batches))


def _pieces(path: str, groups: Iterable[int]) -> Iterator[Piece]:
    """The rows of a file, cut between groups of so many rows, once there are enough."""
    start = stop = 0
    for num_rows in groups:
        stop += num_rows
        if stop - start >= _PIECE_ROWS:
            yield Piece(path, start, stop, stop - start)
            start = stop
    if stop > start:
        yield Piece(path, start, stop, stop - start)


def _may_hold_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _samples(
    batch: pa.RecordBatch, *, columns: dict[str, str], path: str, first_row: int
) -> Iterator[Sample]:
    images = batch.column(columns["image"]).to_pylist()
    labels = batch.column(columns["label"]).to_pylist() if "label" in columns else [None] * len(batch)
    names = batch.column(columns["id"]).to_pylist() if "id" in columns else [None] * len(batch)
    for row, (image, label, name) in enumerate(zip(images, labels, names, strict=True), start=first_row):
        content = image["bytes"] if isinstance(image, dict) else image
        yield Sample(
            id=f"{path}/{row}" if name is None else str(name),
            source=path,
            label=None if label is None else str(label),
            content=content,
            error="the row holds no image bytes" if content is None else None,
        )


def _broken(piece: Piece, error: Exception) -> Sample:
    reason = f"rows {piece.start} to {piece.stop} cannot be read to their end ({error})"
    return Sample(f"{piece.path}/{piece.start}-{piece.stop}", piece.path, None, None, reason)
