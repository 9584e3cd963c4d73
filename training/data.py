"""Images as uint8 tensors, and the order in which a run sees them.

N: images. H, W: pixels of a side.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import CIFAR10

from .config import DataConfig
from .errors import DataError
from .image_cache import PixelsDigest, cached_images
from .sources import find_images

CACHE_FOLDER = ".kohonen-cache"

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of the channels of ImageNet's training images, as torchvision's models take them: shares of 255."""

STATISTICS_IMAGES = 4096
"""Images counted at once: bounds the memory for a data set that is larger than it."""


@dataclass(frozen=True, slots=True)
class ImageSplits:
    """The images of a run, each uint8 [N, H, W, 3], in memory or memory maps; not to be written to."""

    train: Tensor
    """What the model learns from."""

    validation: Tensor
    """The source's validation images, or some held out of the training images with a fixed seed."""

    test: Tensor | None
    """The source's own test images, if it has any: never looked at in training."""

    validation_sets: Mapping[str, slice] = field(default_factory=lambda: {"validation": slice(None)})
    """The parts of ``validation`` whose figures are averaged without weights; one, but for the faces."""

    known_sha256: str | None = None
    """What ``sha256`` gives, if it is known already."""

    def sha256(self) -> str:
        """Of the training and validation images: tells a run's data from any other."""
        if self.known_sha256 is not None:
            return self.known_sha256
        digest = PixelsDigest()
        for images in (self.train, self.validation):
            digest.begin(tuple(images.shape))
            digest.add(images.numpy())
        return digest.hexdigest()


def load_splits(config: DataConfig, root: Path, *, cache: Path | None = None) -> ImageSplits:
    """The images of ``config`` at ``root``, decoded once and cached, or CIFAR-10 downloaded into it.

    ``cache`` is the folder of the cache, by default ``.kohonen-cache`` beside the images. Raises DataError.
    """
    if config.source == "cifar10":
        together, test = _read_cifar10(root)
        train, validation = _hold_out(len(together), config)
        return ImageSplits(train=together[train], validation=together[validation], test=test)
    source = find_images(config, root)
    sets = source.validation
    splits = {"train": source.train, "validation": [file for files in sets.values() for file in files]}
    if not sets:
        train, validation = _hold_out(len(source.train), config)
        sets = {"validation": [source.train[index] for index in validation.tolist()]}
        splits = {
            "train": [source.train[index] for index in train.tolist()],
            "validation": sets["validation"],
        }
    if source.test:
        splits["test"] = source.test
    cached = cached_images(
        splits,
        folder=cache or (root if root.is_dir() else root.parent) / CACHE_FOLDER,
        image_size=config.image_size,
        resize=config.resize,
    )
    ends = np.cumsum([len(files) for files in sets.values()]).tolist()
    return ImageSplits(
        train=cached.splits["train"],
        validation=cached.splits["validation"],
        test=cached.splits.get("test"),
        validation_sets={
            name: slice(end - len(files), end) for (name, files), end in zip(sets.items(), ends, strict=True)
        },
        known_sha256=cached.sha256,
    )


def mean_over_sets(values: Tensor, sets: Mapping[str, slice]) -> float:
    """The unweighted mean of the sets' means of ``values`` [N], one an image."""
    return float(torch.stack([values[part].double().mean() for part in sets.values()]).mean())


def pixel_statistics(
    normalization: Literal["train", "imagenet", "symmetric"], images: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the channels to normalize by, in levels, float32 [3] both, see ``DataConfig``."""
    match normalization:
        case "train":
            return channel_statistics(images)
        case "imagenet":
            return 255 * torch.tensor(IMAGENET_MEAN), 255 * torch.tensor(IMAGENET_STD)
        case "symmetric":
            return torch.full((3,), 127.5), torch.full((3,), 127.5)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the channels of images uint8 [N, H, W, 3], in levels, float32 [3] both.

    A run takes them of its training images alone; the paper's recipe counts the held-out fifth in.
    """
    histogram = torch.zeros(3, 256, dtype=torch.int64)
    for chunk in torch.split(images, STATISTICS_IMAGES):
        for channel in range(3):
            histogram[channel] += torch.bincount(chunk[..., channel].flatten(), minlength=256)
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
    order = _epoch_order(num_images, seed=seed, epoch=epoch)
    return order[batch * batch_size : (batch + 1) * batch_size]


@functools.lru_cache(maxsize=2)
def _epoch_order(num_images: int, *, seed: int, epoch: int) -> Tensor:
    """Kept between steps: a million indices take longer to shuffle than some steps take."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(num_images, generator=generator)


def _hold_out(count: int, config: DataConfig) -> tuple[Tensor, Tensor]:
    """Indices of the images to train and to validate on, of ``count``."""
    num_validation = round(count * config.validation_share)
    if num_validation < 1 or num_validation >= count:
        raise DataError(
            f"{count} training images: too few to hold out a share of {config.validation_share}; add images"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(config.split_seed))
    return order[num_validation:], order[:num_validation]


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
