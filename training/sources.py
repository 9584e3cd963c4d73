"""Where the images of a run lie: files in folders, or members of .tar files, by split."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .config import DataConfig
from .errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm"})

SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
"""Names of folders and shards, and what they hold."""

LAYOUTS = {
    "imagenet": "ImageNet needs train/ and val/ with a folder of JPEGs for each class, the layout of "
    "torchvision's ImageFolder; get ILSVRC2012 from https://image-net.org and unpack it so",
    "faces": "the faces need celeba_hq/ and afhq/, each with train/ and val/; get both with download.sh of "
    "https://github.com/clovaai/stargan-v2",
}
"""What a data set needs and where to get it."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image as it was made: a file, or the part of a .tar that is a file."""

    path: Path
    """The file, or the .tar."""

    name: str
    """What it is called in the source, whatever folder that lies in."""

    num_bytes: int
    """Length."""

    modified_ns: int
    """When the file, or the .tar, was last changed."""

    offset: int = 0
    """Where in the file it begins."""

    def __str__(self) -> str:
        return f"{self.path}: {self.name}" if self.offset else str(self.path)

    def read(self) -> bytes:
        """Its content. Raises OSError."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.num_bytes)


@dataclass(frozen=True, slots=True)
class Source:
    """The images of a data set by split, each list in the order of the names."""

    train: Sequence[ImageFile]
    """What to learn from, and where ``validation`` is empty, to hold out from."""

    validation: dict[str, Sequence[ImageFile]] = field(default_factory=dict)
    """Sets to validate on, by name; a run reports the unweighted mean of theirs."""

    test: Sequence[ImageFile] = ()
    """The source's test images."""


def find_images(config: DataConfig, root: Path) -> Source:
    """The images of ``config`` at ``root``. Raises DataError saying what is missing, and where to get it."""
    match config.source:
        case "imagenet":
            _require_folders(root, "train", "val", layout=LAYOUTS["imagenet"])
            return Source(
                train=list_folder(root / "train"), validation={"validation": list_folder(root / "val")}
            )
        case "faces":
            parts = ("celeba_hq", "afhq")
            wanted = [f"{part}/{split}" for part in parts for split in ("train", "val")]
            _require_folders(root, *wanted, layout=LAYOUTS["faces"])
            return Source(
                train=[file for part in parts for file in list_folder(root / part / "train")],
                validation={part: list_folder(root / part / "val") for part in parts},
            )
        case "tar":
            return _by_split(_list_tars(root), root=root)
        case _:
            return _find_folder(root)


def list_folder(folder: Path) -> list[ImageFile]:
    """All images below ``folder``, in the order of their paths. Raises DataError when there are none."""
    files = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES):
        status = path.stat()
        name = path.relative_to(folder).as_posix()
        files.append(ImageFile(path, name, num_bytes=status.st_size, modified_ns=status.st_mtime_ns))
    if not files:
        raise DataError(
            f"{folder}: no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in it; name a folder of images"
        )
    return files


def _find_folder(root: Path) -> Source:
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder; name a folder of images, or one with train/ and test/ in it"
        )
    if not (root / "train").is_dir():
        return Source(train=list_folder(root))
    found = {SPLITS[name]: list_folder(root / name) for name in SPLITS if (root / name).is_dir()}
    return Source(
        train=found["train"],
        validation={"validation": found["validation"]} if "validation" in found else {},
        test=found.get("test", ()),
    )


def _require_folders(root: Path, *names: str, layout: str) -> None:
    for name in names:
        if not (root / name).is_dir():
            raise DataError(f"{root / name}: no such folder; {layout}")


def _by_split(members: Iterator[tuple[str, ImageFile]], *, root: Path) -> Source:
    splits: dict[str, list[ImageFile]] = {"train": [], "validation": [], "test": []}
    for split, file in members:
        splits[split].append(file)
    for files in splits.values():
        files.sort(key=lambda file: file.name)
    if not splits["train"]:
        raise DataError(
            f"{root}: no training images ({', '.join(sorted(IMAGE_SUFFIXES))}) in its .tar files; "
            "name a .tar, or a folder of WebDataset shards such as train-000000.tar"
        )
    return Source(
        train=splits["train"],
        validation={"validation": splits["validation"]} if splits["validation"] else {},
        test=splits["test"],
    )


def _list_tars(root: Path) -> Iterator[tuple[str, ImageFile]]:
    """Each image in the .tar at ``root``, or in those below it, with its split."""
    paths = sorted(root.rglob("*.tar")) if root.is_dir() else [root]
    if not paths:
        raise DataError(
            f'{root}: no .tar files in it; name a .tar or a folder of them, or use source = "folder" '
            "for a folder of images"
        )
    for path in paths:
        shard = path.relative_to(root).as_posix() if root.is_dir() else path.name
        try:
            with tarfile.open(path, "r:") as archive:
                modified_ns = path.stat().st_mtime_ns
                for member in archive:
                    if member.isreg() and PurePosixPath(member.name).suffix.lower() in IMAGE_SUFFIXES:
                        yield (
                            _split_of(member.name, shard=shard),
                            ImageFile(
                                path,
                                f"{shard}/{member.name}",
                                num_bytes=member.size,
                                modified_ns=modified_ns,
                                offset=member.offset_data,
                            ),
                        )
        except (OSError, tarfile.TarError) as error:
            raise DataError(
                f"{path}: cannot be read as an uncompressed .tar ({error}); name one, or a folder of them"
            ) from None


def _split_of(member: str, *, shard: str) -> str:
    """By a folder's whole name, else by a word in the shard's; "train" where neither says."""
    folders = PurePosixPath(member).parts[:-1]
    words = re.split(r"[^A-Za-z]+", shard)
    return next((SPLITS[name] for name in (*folders, *words) if name in SPLITS), "train")
