"""Images as uint8 tensors, and the order in which a run sees them.

N: images. H, W: pixels of a side.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets import CIFAR10

from kohonen_tokenizer.pixels import Pixels, crop, rgb_over_white

from .config import DataConfig
from .errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm"})


@dataclass(frozen=True, slots=True)
class ImageSplits:
    """The images of a run, each uint8 [N, H, W, 3]."""

    train: Tensor
    """What the model learns from."""

    validation: Tensor
    """Held out of the training images with a fixed seed."""

    test: Tensor | None
    """The source's own test images, if it has any: never looked at in training."""

    def sha256(self) -> str:
        """Of the training and validation images: tells a run's data from any other."""
        digest = hashlib.sha256()
        for images in (self.train, self.validation):
            digest.update(str(tuple(images.shape)).encode())
            digest.update(images.contiguous().numpy().data)
        return digest.hexdigest()


def load_splits(config: DataConfig, root: Path) -> ImageSplits:
    """Read the images of ``config`` from ``root``, or download CIFAR-10 into it. Raises DataError."""
    train_and_validation, test = (
        _read_cifar10(root) if config.source == "cifar10" else _read_folders(config, root)
    )
    count = len(train_and_validation)
    num_validation = round(count * config.validation_share)
    if num_validation < 1 or num_validation >= count:
        raise DataError(
            f"{count} training images: too few to hold out a share of {config.validation_share}; add images"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(config.split_seed))
    return ImageSplits(
        train=train_and_validation[order[num_validation:]],
        validation=train_and_validation[order[:num_validation]],
        test=test,
    )


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the channels of images uint8 [N, H, W, 3], in levels, float32 [3] both.

    A run takes them of its training images alone; the paper's recipe counts the held-out fifth in.
    """
    histogram = torch.stack(
        [torch.bincount(images[..., channel].flatten(), minlength=256) for channel in range(3)]
    )
    share = histogram.double() / histogram.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64)
    mean = share @ levels
    variance = share @ levels.square() - mean.square()
    # A channel that never varies would divide by zero; one level is the smallest real step.
    return mean.float(), variance.clamp(min=1).sqrt().float()


def batch_indices(*, num_images: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Indices of the images of a step (counted from 0), int64 [batch_size].

    Each epoch is a fresh permutation; what is left at its end is dropped. The choice depends on nothing but
    the arguments, so a resumed run sees the images that an unbroken one would.
    """
    batches = num_images // batch_size
    if batches < 1:
        raise DataError(
            f"batch_size {batch_size}: more than the {num_images} training images; lower it or add images"
        )
    epoch, batch = divmod(step, batches)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(num_images, generator=generator)
    return order[batch * batch_size : (batch + 1) * batch_size]


def _read_cifar10(root: Path) -> tuple[Tensor, Tensor]:
    try:
        parts = [CIFAR10(str(root), train=train, download=True).data for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"CIFAR-10 could be neither found in {root} nor downloaded ({error}); "
            "put cifar-10-batches-py there, or use a folder of images as the source"
        ) from None
    train, test = (torch.from_numpy(np.asarray(part)) for part in parts)
    return train, test


def _read_folders(config: DataConfig, root: Path) -> tuple[Tensor, Tensor | None]:
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder; name a folder of images, or one with train/ and test/ in it"
        )
    if not (root / "train").is_dir():
        return read_folder(root, image_size=config.image_size), None
    test = read_folder(root / "test", image_size=config.image_size) if (root / "test").is_dir() else None
    return read_folder(root / "train", image_size=config.image_size), test


def read_folder(folder: Path, *, image_size: int) -> Tensor:
    """All images below ``folder``, in the order of their paths, uint8 [N, image_size, image_size, 3].

    An image of another size is scaled to cover the square and center-cropped. Raises DataError, naming the
    file, when one cannot be read: a run on silently fewer images would not be the run that was asked for.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DataError(
            f"{folder}: no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in it; name a folder of images"
        )
    images = np.empty((len(paths), image_size, image_size, 3), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        for row, pixels in enumerate(pool.map(lambda path: _read_image(path, image_size), paths)):
            images[row] = pixels
    return torch.from_numpy(images)


def _read_image(path: Path, image_size: int) -> Pixels:
    try:
        with Image.open(path) as opened:
            pixels = rgb_over_white(ImageOps.exif_transpose(opened))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); repair or remove it") from None
    if pixels.shape[:2] == (image_size, image_size):
        return pixels
    return crop(pixels, height=image_size, width=image_size)
