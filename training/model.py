"""The VQ-VAE of the paper's CIFAR-10 experiments (van den Oord et al. 2017).

B: batch. C: color channels. H, W: pixels. h, w: latent grid (H/4, W/4). D: code dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from .autoencoder import Quantize, QuantizedAutoencoder
from .quantizer import VectorQuantizer


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x)))); the VQ-VAE has no biases in it, the VQ-VAE-2 has."""

    def __init__(self, channels: int, residual_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(channels, residual_channels, 3, padding=1, bias=bias)
        self.conv1 = nn.Conv2d(residual_channels, channels, 1, bias=bias)

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
            *(ResidualBlock(hidden, residual_channels, bias=False) for _ in range(num_residual_blocks)),
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
            *(ResidualBlock(hidden, residual_channels, bias=False) for _ in range(num_residual_blocks)),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden, hidden // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden // 2, 3, 4, stride=2, padding=1),
        )

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.layers(latents)
        return images


class VQVAE(QuantizedAutoencoder):
    """One level of latents, a quarter of the image's side."""

    strides: ClassVar[Mapping[str, int]] = {"tokens": 4}
    encoder_parts = ("encoder",)
    decoder_parts = ("decoder",)
    quantizer_parts = ("quantizer",)

    def __init__(self, *, encoder: Encoder, quantizer: VectorQuantizer, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.quantizer = quantizer
        self.decoder = decoder

    def encode_levels(self, images: Tensor, quantize: Quantize) -> dict[str, Tensor]:
        """See ``QuantizedAutoencoder``."""
        return {"tokens": quantize("tokens", self.encoder(images))}

    def reconstruct(self, codes: Mapping[str, Tensor]) -> Tensor:
        """See ``QuantizedAutoencoder``."""
        images: Tensor = self.decoder(codes["tokens"])
        return images
