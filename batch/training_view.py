"""The dataset for training: one memory-mappable .npy a level, and the labels; or WebDataset tars.

n images with tokens, h w latent grid.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kohonen_tokenizer.atomic_file import new_file, write_atomically
from kohonen_tokenizer.service.npy import write_npy

from .dataset import Dataset
from .identity import Identity, TokenLevel
from .rows import token_dtype, tokens_of
from .tar_files import write_tar

INDEX_FILE = "index.json"
LABELS_FILE = "labels.npy"
NO_LABEL = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingView:
    """What was exported."""

    num_images: int
    num_left_out: int
    """Failed images, which have no tokens."""
    files: tuple[Path, ...]


def export_arrays(dataset: Dataset, folder: Path) -> TrainingView:
    """Write `LEVEL.npy` [n, h, w] for each level, `labels.npy` [n] where labels are known, and `index.json`.

    Rows are in the order of the dataset; a shard at a time is in memory. Labels are int64, -1 for none: the
    numbers that they are, or places in the sorted names that index.json lists. That file also says which
    model, preprocessing and codebook the tokens are of; it is written last.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    identity, manifest = dataset.identity, dataset.manifest
    num_images = manifest.num_images - manifest.num_failed
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX_FILE).unlink(missing_ok=True)
    files = [_write_level(dataset, level, folder=folder, num_images=num_images) for level in identity.levels]
    labels, names = _labels(dataset)
    if (labels != NO_LABEL).any():
        files.append(folder / LABELS_FILE)
        write_atomically(files[-1], write_npy(labels))
    index = identity.model_dump(mode="json") | {"num_images": num_images, "label_names": names}
    files.append(folder / INDEX_FILE)
    write_atomically(files[-1], json.dumps(index, indent=2).encode() + b"\n")
    return TrainingView(num_images=num_images, num_left_out=manifest.num_failed, files=tuple(files))


def export_tars(dataset: Dataset, folder: Path) -> TrainingView:
    """Write a WebDataset tar for each shard: an image has `LEVEL.npy` [h, w] and its label `cls`.

    Raises:
        DatasetError: an id that is no relative path.
        OSError: the folder cannot be written or is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [level.name for level in dataset.identity.levels]
    files = []
    tables = dataset.tables(["id", "status", "label", *names])
    for record, table in zip(dataset.manifest.shards, tables, strict=True):
        files.append(folder / Path(record.file).with_suffix(".tar"))
        samples = _samples(table.filter(pc.equal(table["status"], "ok")), dataset.identity)
        write_tar(files[-1], samples)
    manifest = dataset.manifest
    return TrainingView(
        num_images=manifest.num_images - manifest.num_failed,
        num_left_out=manifest.num_failed,
        files=tuple(files),
    )


def _samples(table: pa.Table, identity: Identity) -> Iterator[tuple[str, dict[str, bytes]]]:
    for batch in table.to_batches():
        names, labels = (batch.column(column).to_pylist() for column in ("id", "label"))
        grids = [tokens_of(batch.column(level.name), level=level) for level in identity.levels]
        for row, (name, label) in enumerate(zip(names, labels, strict=True)):
            members = {
                f"{level.name}.npy": write_npy(tokens[row])
                for level, tokens in zip(identity.levels, grids, strict=True)
            }
            yield name, members | ({} if label is None else {"cls": label.encode()})


def _write_level(dataset: Dataset, level: TokenLevel, *, folder: Path, num_images: int) -> Path:
    dtype = token_dtype(level).newbyteorder("<")
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (num_images, *level.latent_grid),
    }
    path = folder / f"{level.name}.npy"
    with new_file(path) as file:
        # Written and not mapped: a process that writes to a map of a full disk is killed.
        np.lib.format.write_array_header_1_0(file, header)
        for table in dataset.tables([level.name]):
            for chunk in table[level.name].chunks:
                file.write(tokens_of(chunk, level=level).astype(dtype).tobytes())
    return path


def _labels(dataset: Dataset) -> tuple[npt.NDArray[np.int64], list[str] | None]:
    """The labels [n], and the names that they are places in; None where they are numbers themselves."""
    columns = [
        table.filter(pc.equal(table["status"], "ok"))["label"].combine_chunks()
        for table in dataset.tables(["status", "label"])
    ]
    column = pa.chunked_array([pa.array(chunk, pa.string()) for chunk in columns], pa.string())
    names = sorted(set(column.unique().drop_null().to_pylist()))
    if all(_is_number(name) for name in names):
        return column.cast(pa.int64()).fill_null(NO_LABEL).to_numpy(), None
    return pc.index_in(column, pa.array(names)).cast(pa.int64()).fill_null(NO_LABEL).to_numpy(), names


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdecimal()
