"""Images for the parity gate where there are none at hand: made in code, the same on each call.

N: images. H, W: pixels of a side.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def smooth_images(count: int, *, size: int, seed: int = 0) -> Tensor:
    """Images uint8 [N, size, size, 3] whose detail fades as 1 / frequency, about as in photographs."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.zeros(count, 3, size, size)
    cells = 1
    while cells <= size:
        noise = torch.rand(count, 3, cells, cells, generator=generator) - 0.5
        images += F.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False) / cells
        cells *= 2
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def noise_images(count: int, *, size: int, seed: int = 0) -> Tensor:
    """Images uint8 [N, size, size, 3] of uniform noise: far from anything that a model has learnt."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, size, size, 3), dtype=torch.uint8, generator=generator)
