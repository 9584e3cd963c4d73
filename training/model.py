"""The VQ-VAE of the paper's CIFAR-10 experiments (van den Oord et al. 2017).

B: batch. C: color channels. H, W: pixels. h, w: latent grid (H/4, W/4). D: code dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .quantizer import Quantized, VectorQuantizer

DOWNSAMPLING = 4
"""Pixels of a side that one latent stands for."""


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x)))), without biases."""

    def __init__(self, channels: int, residual_channels: int) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(channels, residual_channels, 3, padding=1, bias=False)
        self.conv1 = nn.Conv2d(residual_channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.conv1(F.relu(self.conv3(F.relu(x))))
        return x + residual


class Encoder(nn.Module):
    """Normalized images [B, C, H, W] -> latents [B, D, h, w] (Eq. 11)."""

    def __init__(
        self, *, hidden: int, num_residual_blocks: int, residual_channels: int, code_dim: int
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, hidden // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden // 2, hidden, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            *(ResidualBlock(hidden, residual_channels) for _ in range(num_residual_blocks)),
            nn.ReLU(),
            nn.Conv2d(hidden, code_dim, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        latents: Tensor = self.layers(images)
        return latents


class Decoder(nn.Module):
    """Quantized latents [B, D, h, w] -> normalized images [B, C, H, W] (Eq. 14)."""

    def __init__(
        self, *, hidden: int, num_residual_blocks: int, residual_channels: int, code_dim: int
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(code_dim, hidden, 3, padding=1),
            *(ResidualBlock(hidden, residual_channels) for _ in range(num_residual_blocks)),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden, hidden // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden // 2, 3, 4, stride=2, padding=1),
        )

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.layers(latents)
        return images


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What the model makes of a batch of normalized images."""

    images: Tensor
    """Normalized reconstructions, [B, C, H, W]."""

    quantized: Quantized
    """The latents, indices, commitment loss and perplexity in between."""


class VQVAE(nn.Module):
    """Encoder, quantizer and decoder, with the normalization that its images need.

    The channels' mean and standard deviation, in levels of 0..255, are buffers: they travel with the weights.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, *, encoder: Encoder, quantizer: VectorQuantizer, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.quantizer = quantizer
        self.decoder = decoder
        self.register_buffer("pixel_mean", torch.full((3,), 127.5))
        self.register_buffer("pixel_std", torch.full((3,), 127.5))

    def normalize(self, pixels: Tensor) -> Tensor:
        """Pixels [B, H, W, C], 0..255 of any dtype, to normalized images [B, C, H, W]."""
        return ((pixels.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std).permute(0, 3, 1, 2)

    def to_pixels(self, images: Tensor) -> Tensor:
        """Normalized images [B, C, H, W] to pixels uint8 [B, H, W, C], rounded half to even and clamped."""
        levels = images.permute(0, 2, 3, 1) * self.pixel_std + self.pixel_mean
        return levels.round().clamp(0, 255).to(torch.uint8)

    def forward(self, images: Tensor) -> Reconstruction:
        """Normalized images [B, C, H, W] through the whole model (Eqs. 11-14)."""
        quantized = self.quantizer(self.encoder(images))
        return Reconstruction(images=self.decoder(quantized.latents), quantized=quantized)

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 [B, H, W, C] to indices int64 [B, h, w]."""
        latents = self.encoder(self.normalize(pixels))
        indices: Tensor = self.quantizer(latents).indices
        return indices

    def decode(self, indices: Tensor) -> Tensor:
        """Indices int64 [B, h, w] to pixels uint8 [B, H, W, C]."""
        return self.to_pixels(self.decoder(self.quantizer.lookup(indices)))
