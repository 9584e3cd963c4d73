"""Decoded images on disk, as memory maps: decoded once, read from then on as fast as the disk gives them.

    .kohonen-cache/
      lock
      KEY/            follows from every file's name, length and time, and from the size and the resize
        train.npy     uint8 [N, H, W, 3]; also validation.npy and test.npy
        cache.json    sha256 of the training and validation images

A data set larger than the memory needs none of it: the system keeps the pages that are in use. A folder KEY
is there whole or not at all. Nothing deletes an old one: remove the folder to have the space back.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from kohonen_tokenizer.atomic_file import sync
from kohonen_tokenizer.pixels import Pixels, crop, rgb_over_white, squash

from .errors import DataError
from .sources import ImageFile

FORMAT_VERSION = 1
DESCRIPTION = "cache.json"
CHUNK = 64
"""Images that a thread decodes at a time."""

Resize = Literal["crop", "squash"]


@dataclass(frozen=True, slots=True)
class CachedImages:
    """Memory maps of decoded images."""

    splits: dict[str, Tensor]
    """By split, uint8 [N, H, W, 3]; not to be written to."""

    sha256: str
    """Of the training and validation images, see ``pixels_digest``."""


def cached_images(
    splits: Mapping[str, Sequence[ImageFile]], *, folder: Path, image_size: int, resize: Resize
) -> CachedImages:
    """The images of ``splits``, from the cache in ``folder``, where they are put if they are not there.

    Of several processes that ask at once one decodes, and the others wait for it. Raises DataError, naming
    the file, when an image cannot be read: a run on silently fewer images would not be the run that was asked
    for.
    """
    target = folder / _key(splits, image_size=image_size, resize=resize)
    try:
        if not target.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not target.is_dir():
                    _write(splits, target, image_size=image_size, resize=resize)
        description = json.loads((target / DESCRIPTION).read_text())
        return CachedImages(
            splits={name: _map(target / f"{name}.npy") for name in splits}, sha256=description["sha256"]
        )
    except OSError as error:
        num_bytes = sum(map(len, splits.values())) * image_size**2 * 3
        raise DataError(
            f"{folder}: cannot hold the {num_bytes / 1e9:.1f} GB of decoded images ({error}); "
            "name a folder that can with --cache"
        ) from None


class PixelsDigest:
    """SHA-256 of arrays of images, one after the other: each begins with its shape."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def begin(self, shape: tuple[int, ...]) -> None:
        """Start an array of this shape."""
        self._digest.update(str(shape).encode())

    def add(self, images: Pixels) -> None:
        """Its next images."""
        self._digest.update(np.ascontiguousarray(images).data)

    def hexdigest(self) -> str:
        """Of all so far."""
        return self._digest.hexdigest()


def decode_file(file: ImageFile, *, image_size: int, resize: Resize) -> Pixels:
    """The image as RGB, uint8 [image_size, image_size, 3]. Raises DataError, naming it."""
    try:
        with Image.open(io.BytesIO(file.read())) as opened:
            pixels = rgb_over_white(ImageOps.exif_transpose(opened))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: cannot be read as an image ({error}); repair or remove it") from None
    if pixels.shape[:2] == (image_size, image_size):
        return pixels
    fit = crop if resize == "crop" else squash
    return fit(pixels, height=image_size, width=image_size)


def _key(splits: Mapping[str, Sequence[ImageFile]], *, image_size: int, resize: Resize) -> str:
    """What the decoded images follow from. Times and lengths stand for the content, as for make and rsync:
    to read terabytes before each run would cost more than the cache saves."""
    digest = hashlib.sha256(f"{FORMAT_VERSION} {image_size} {resize}".encode())
    for split, files in splits.items():
        digest.update(f"\0{split} {len(files)}".encode())
        for file in files:
            digest.update(f"\0{file.name}\0{file.offset} {file.num_bytes} {file.modified_ns}".encode())
    return digest.hexdigest()[:32]


def _write(
    splits: Mapping[str, Sequence[ImageFile]], target: Path, *, image_size: int, resize: Resize
) -> None:
    partial = target.with_name(f".partial-{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    digest = PixelsDigest()

    def decode(files: Sequence[ImageFile]) -> Pixels:
        return np.stack([decode_file(file, image_size=image_size, resize=resize) for file in files])

    try:
        with ThreadPoolExecutor() as pool:
            for split, files in splits.items():
                shape = (len(files), image_size, image_size, 3)
                if split != "test":
                    digest.begin(shape)
                chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
                with (
                    (partial / f"{split}.npy").open("wb") as out,
                    tqdm(
                        total=len(files),
                        desc=f"decode {split}",
                        unit="image",
                        leave=False,
                        dynamic_ncols=True,
                    ) as bar,
                ):
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(out, header)
                    for images in _in_order(pool, decode, chunks):
                        out.write(images.data)
                        bar.update(len(images))
                        if split != "test":
                            digest.add(images)
                sync(partial / f"{split}.npy")
        (partial / DESCRIPTION).write_text(json.dumps({"sha256": digest.hexdigest()}))
        sync(partial / DESCRIPTION)
        partial.rename(target)
        sync(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _in_order(
    pool: ThreadPoolExecutor,
    decode: Callable[[Sequence[ImageFile]], Pixels],
    chunks: Iterable[Sequence[ImageFile]],
) -> Iterator[Pixels]:
    """Each chunk decoded. ``pool.map`` would decode all of them, however slow the disk is."""
    ahead = 2 * (os.cpu_count() or 1)
    pending: deque[Future[Pixels]] = deque()
    try:
        for chunk in chunks:
            pending.append(pool.submit(decode, chunk))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _map(path: Path) -> Tensor:
    images = np.load(path, mmap_mode="r")
    with warnings.catch_warnings():
        # Mapped for reading only: a private map that may be written to counts against the memory of the
        # machine, and a large one is refused. Nothing writes to images.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)
