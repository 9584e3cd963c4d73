"""What every model here is: an autoencoder whose latents are quantized, on one level or on several.

B: batch. C: color channels. H, W: pixels. h, w: latent grid of a level. D: code dimension.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .quantizer import Quantized, VectorQuantizer

Quantize = Callable[[str, Tensor], Tensor]
"""What puts codes in the place of a level's latents: (its name, latents [B, D, h, w]) -> [B, D, h, w]."""


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What the model makes of a batch of normalized images."""

    images: Tensor
    """Normalized reconstructions, [B, C, H, W]."""

    encoded: dict[str, Tensor]
    """By level: the latents before they were quantized, [B, D, h, w]."""

    quantized: dict[str, Quantized]
    """By level: what the quantizer made of them."""

    @property
    def commitment_loss(self) -> Tensor:
        """The sum of the levels' commitment losses, []."""
        return torch.stack([level.commitment_loss for level in self.quantized.values()]).sum()

    @property
    def codebook_loss(self) -> Tensor:
        """The sum of the levels' codebook losses, []; 0 where codebooks learn without gradients."""
        return torch.stack([level.codebook_loss for level in self.quantized.values()]).sum()


class QuantizedAutoencoder(nn.Module, ABC):
    """Encoder, quantizers and decoder, with the normalization that its images need.

    The channels' mean and standard deviation, in levels of 0..255, are buffers: they travel with the weights.
    A mapping by level is in the order in which the levels are encoded.
    """

    strides: ClassVar[Mapping[str, int]]
    """By level: pixels of a side that one latent stands for."""
    encoder_parts: ClassVar[tuple[str, ...]]
    """The submodules that only ``encode_levels`` uses."""
    decoder_parts: ClassVar[tuple[str, ...]]
    """The submodules that only ``reconstruct`` uses."""
    quantizer_parts: ClassVar[tuple[str, ...]]
    """The submodules that are the quantizers."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", torch.full((3,), 127.5))
        self.register_buffer("pixel_std", torch.full((3,), 127.5))

    @property
    def quantizers(self) -> dict[str, VectorQuantizer]:
        """The quantizers by level."""
        parts = (getattr(self, part) for part in self.quantizer_parts)
        return dict(zip(self.strides, parts, strict=True))

    def latent_grid(self, level: str, *, image_size: int) -> tuple[int, int]:
        """(h, w) of ``level`` for square images of ``image_size`` pixels a side."""
        side = image_size // self.strides[level]
        return side, side

    def bits_per_image(self, indices: Mapping[str, Tensor]) -> float:
        """What the tokens of one of the images take whose ``indices``, by level, are these: log2 K each."""
        return sum(
            indices[level][0].numel() * math.log2(quantizer.grid.size)
            for level, quantizer in self.quantizers.items()
        )

    @abstractmethod
    def encode_levels(self, images: Tensor, quantize: Quantize) -> dict[str, Tensor]:
        """What ``quantize`` puts in the place of each level's latents, of normalized images [B, C, H, W].

        ``quantize`` is called once a level, in their order: a level may depend on the codes of those before.
        """

    @abstractmethod
    def reconstruct(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Normalized images [B, C, H, W] of each level's quantized latents [B, D, h, w]."""

    def normalize(self, pixels: Tensor) -> Tensor:
        """Pixels [B, H, W, C], 0..255 of any dtype, to normalized images [B, C, H, W]."""
        return ((pixels.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std).permute(0, 3, 1, 2)

    def to_pixels(self, images: Tensor) -> Tensor:
        """Normalized images [B, C, H, W] to pixels uint8 [B, H, W, C], rounded half to even and clamped."""
        levels = images.permute(0, 2, 3, 1) * self.pixel_std + self.pixel_mean
        return levels.round().clamp(0, 255).to(torch.uint8)

    def forward(self, images: Tensor) -> Reconstruction:
        """Normalized images [B, C, H, W] through the whole model (Eqs. 11-14)."""
        quantizers = self.quantizers
        encoded: dict[str, Tensor] = {}
        quantized: dict[str, Quantized] = {}

        def quantize(level: str, latents: Tensor) -> Tensor:
            encoded[level] = latents
            # All of it in float32, whatever the networks compute in.
            with torch.autocast(latents.device.type, enabled=False):
                quantized[level] = quantizers[level](latents.to(quantizers[level].codebook.dtype))
            return quantized[level].latents

        codes = self.encode_levels(images, quantize)
        return Reconstruction(images=self.reconstruct(codes), encoded=encoded, quantized=quantized)

    def encode(self, pixels: Tensor) -> dict[str, Tensor]:
        """Pixels uint8 [B, H, W, C] to indices int64 [B, h, w] of each level."""
        quantizers = self.quantizers
        indices: dict[str, Tensor] = {}

        def quantize(level: str, latents: Tensor) -> Tensor:
            indices[level] = quantizers[level](latents).indices
            return quantizers[level].lookup(indices[level])

        self.encode_levels(self.normalize(pixels), quantize)
        return indices

    def decode(self, indices: Mapping[str, Tensor]) -> Tensor:
        """Indices int64 [B, h, w] of each level to pixels uint8 [B, H, W, C]."""
        codes = {level: quantizer.lookup(indices[level]) for level, quantizer in self.quantizers.items()}
        return self.to_pixels(self.reconstruct(codes))
