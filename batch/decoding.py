"""A dataset of tokens back into images: loose PNG files, or a WebDataset tar for each shard."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from kohonen_tokenizer.atomic_file import new_file
from kohonen_tokenizer.service.runtime.images import encode_png
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from .dataset import Dataset
from .errors import DatasetError, MismatchError
from .rows import tokens_of

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
    (level,) = dataset.identity.levels
    if level.codebook_sha256 != tokenizer.codebook.sha256:
        raise MismatchError(
            f"{dataset.storage.url} holds tokens of codebook {level.codebook_sha256}, and the bundle's is "
            f"{tokenizer.codebook.sha256}; decode with {dataset.identity.model}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    num_images = 0
    for record, table in zip(
        dataset.manifest.shards, dataset.tables(["id", "label", "status", level.name]), strict=True
    ):
        images = _images(table.filter(pc.equal(table["status"], "ok")), dataset=dataset, tokenizer=tokenizer)
        write = _write_tar if as_tars else _write_files
        num_images += write(images, folder=folder, name=PurePosixPath(record.file).stem)
    return num_images


def _images(
    table: pa.Table, *, dataset: Dataset, tokenizer: Tokenizer
) -> Iterator[tuple[str, str | None, bytes]]:
    """The id, the label and the PNG of each row."""
    (level,) = dataset.identity.levels
    for batch in table.to_batches(_BATCH_ROWS):
        pixels = tokenizer.decode(tokens_of(batch.column(level.name), level=level))
        names, labels = (batch.column(column).to_pylist() for column in ("id", "label"))
        for name, label, image in zip(names, labels, pixels, strict=True):
            yield name, label, encode_png(image)


def _write_files(images: Iterator[tuple[str, str | None, bytes]], *, folder: Path, name: str) -> int:
    del name  # of the shard, which loose files do not show
    num_images = 0
    for identifier, _, png in images:
        path = folder / f"{_inside(identifier)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
        num_images += 1
    return num_images


def _write_tar(images: Iterator[tuple[str, str | None, bytes]], *, folder: Path, name: str) -> int:
    num_images = 0
    with new_file(folder / f"{name}.tar") as file, tarfile.open(fileobj=file, mode="w") as tar:
        for identifier, label, png in images:
            # Readers of WebDataset take what follows the first dot as the kind of a member.
            folder_name, slash, file_name = _inside(identifier).rpartition("/")
            key = folder_name + slash + file_name.replace(".", "_")
            _add(tar, f"{key}.png", png)
            if label is not None:
                _add(tar, f"{key}.cls", label.encode())
            num_images += 1
    return num_images


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _inside(identifier: str) -> str:
    """`identifier` as a path below a folder: of a URL or an absolute path, what follows the root.

    Raises:
        DatasetError: it would leave the folder.
    """
    path = PurePosixPath(identifier.partition("://")[2] or identifier)
    relative = path.relative_to("/") if path.is_absolute() else path
    if ".." in relative.parts or not relative.parts:
        raise DatasetError(
            f"the id {identifier!r} is no name of a file in a folder; export the tokens instead"
        )
    return relative.as_posix()
