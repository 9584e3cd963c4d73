"""A dataset of tokens back into images: loose PNG files, or a WebDataset tar for each shard."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from kohonen_tokenizer.service.runtime.images import encode_png
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from .dataset import Dataset
from .errors import MismatchError
from .rows import tokens_of
from .tar_files import relative_path, write_tar

_BATCH_ROWS = 256


def decode_dataset(dataset: Dataset, *, tokenizer: Tokenizer, folder: Path, as_tars: bool) -> int:
    """Write the images of `dataset` into `folder`, which is made, and return how many.

    An image is named by its id and `.png`; failed images have none. In a tar, `NNNNN.tar` for shard N, its
    name has no dots but the last, and its label, if known, is the member `cls` beside it.

    Raises:
        MismatchError: the tokens are of another codebook than the tokenizer's.
        DatasetError: an id that would leave the folder.
        OSError: the folder cannot be written.
    """
    levels = dataset.identity.levels
    of_dataset = [level.codebook_sha256 for level in levels]
    of_bundle = [level.codebook_sha256 for level in tokenizer.manifest.levels]
    if of_dataset != of_bundle:
        raise MismatchError(
            f"{dataset.storage.url} holds tokens of codebook {', '.join(of_dataset)}, and the bundle's is "
            f"{', '.join(of_bundle)}; decode with {dataset.identity.model}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    num_images = 0
    for record, table in zip(
        dataset.manifest.shards,
        dataset.tables(["id", "label", "status", *(level.name for level in levels)]),
        strict=True,
    ):
        images = _images(table.filter(pc.equal(table["status"], "ok")), dataset=dataset, tokenizer=tokenizer)
        if as_tars:
            tar = folder / PurePosixPath(record.file).with_suffix(".tar")
            num_images += write_tar(tar, images)
        else:
            num_images += _write_files(images, folder=folder)
    return num_images


def _images(
    table: pa.Table, *, dataset: Dataset, tokenizer: Tokenizer
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The id of each row, and its PNG with the label, if known."""
    levels = dataset.identity.levels
    for batch in table.to_batches(_BATCH_ROWS):
        grids = [tokens_of(batch.column(level.name), level=level) for level in levels]
        by_level = dict(zip(tokenizer.levels, grids, strict=True))
        pixels = tokenizer.decode(grids[0] if len(levels) == 1 else by_level)
        names, labels = (batch.column(column).to_pylist() for column in ("id", "label"))
        for name, label, image in zip(names, labels, pixels, strict=True):
            yield name, {"png": encode_png(image)} | ({} if label is None else {"cls": label.encode()})


def _write_files(images: Iterable[tuple[str, dict[str, bytes]]], *, folder: Path) -> int:
    num_images = 0
    for identifier, members in images:
        path = folder / f"{relative_path(identifier)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(members["png"])
        num_images += 1
    return num_images
