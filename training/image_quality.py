"""How near a reconstruction is to its image, measured on 8-bit pixels.

B: batch. H, W: pixels. C: color channels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

PEAK = 255
"""The largest value of a pixel."""

MAX_PSNR = 100.0
"""dB; where an image is reproduced without error the ratio has no bound, and a mean needs one."""


def peak_signal_to_noise(reconstruction: Tensor, original: Tensor) -> Tensor:
    """PSNR of each image in dB, float64 [B], from two uint8 tensors [B, H, W, C]; at most ``MAX_PSNR``."""
    error = reconstruction.double() - original.double()
    mean_squared_error = error.square().mean(dim=(1, 2, 3))
    return (10 * torch.log10(PEAK**2 / mean_squared_error)).clamp(max=MAX_PSNR)


def structural_similarity(reconstruction: Tensor, original: Tensor) -> Tensor:
    """SSIM of each image, float32 [B], from two uint8 tensors [B, H, W, C]; torchmetrics' Gaussian window."""
    first, second = (images.permute(0, 3, 1, 2).float() for images in (reconstruction, original))
    similarity = structural_similarity_index_measure(first, second, data_range=float(PEAK), reduction="none")
    assert isinstance(similarity, Tensor)
    return similarity
