"""Random squares of the training images: for a convolutional network a part is as good, and costs less.

B: batch. H, W: pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def crop_corners(image_size: int, *, side: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Where to cut squares of ``side`` pixels out of the images of a step: (top, left), int64 [B, 2].

    The choice depends on nothing but the arguments, so a resumed run cuts as an unbroken one would.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return torch.randint(image_size - side + 1, (batch_size, 2), generator=generator)


def cut_squares(images: Tensor, *, corners: Tensor, side: int) -> Tensor:
    """The squares of images [B, H, W, 3] that begin at ``corners`` [B, 2]: [B, side, side, 3]."""
    return torch.stack(
        [
            image[top : top + side, left : left + side]
            for image, (top, left) in zip(images, corners.tolist(), strict=True)
        ]
    )
