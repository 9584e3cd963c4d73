"""The VQ-VAE-2 of the paper's ImageNet and face experiments (Razavi et al. 2019), with two levels.

The top level sees the whole at an eighth of the image's side; the bottom level adds what is missing at a
quarter of it, given the top's codes. At 256 pixels they are 32 x 32 and 64 x 64 tokens.

B: batch. C: color channels. H, W: pixels. D: code dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from .autoencoder import Quantize, QuantizedAutoencoder
from .model import ResidualBlock
from .quantizer import VectorQuantizer


class VQVAE2(QuantizedAutoencoder):
    """Two levels of latents, each with a quantizer and a map of its own."""

    strides: ClassVar[Mapping[str, int]] = {"top": 8, "bottom": 4}
    encoder_parts = ("bottom_encoder", "top_encoder", "top_decoder", "to_bottom")
    decoder_parts = ("upsample_top", "decoder")
    quantizer_parts = ("top_quantizer", "bottom_quantizer")

    def __init__(
        self,
        *,
        top_quantizer: VectorQuantizer,
        bottom_quantizer: VectorQuantizer,
        hidden: int,
        num_residual_blocks: int,
        residual_channels: int,
        code_dim: int,
    ) -> None:
        """The networks around two quantizers of dimension ``code_dim``; for the sizes see ``ModelConfig``."""
        super().__init__()

        def trunk() -> list[nn.Module]:
            blocks = (ResidualBlock(hidden, residual_channels, bias=True) for _ in range(num_residual_blocks))
            return [*blocks, nn.ReLU()]

        self.top_quantizer = top_quantizer
        self.bottom_quantizer = bottom_quantizer
        self.bottom_encoder = nn.Sequential(
            nn.Conv2d(3, hidden // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden // 2, hidden, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            *trunk(),
        )
        self.top_encoder = nn.Sequential(
            nn.Conv2d(hidden, hidden // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden // 2, hidden, 3, padding=1),
            *trunk(),
            nn.Conv2d(hidden, code_dim, 1),
        )
        self.top_decoder = nn.Sequential(
            nn.Conv2d(code_dim, hidden, 3, padding=1),
            *trunk(),
            nn.ConvTranspose2d(hidden, code_dim, 4, stride=2, padding=1),
        )
        self.to_bottom = nn.Conv2d(hidden + code_dim, code_dim, 1)
        self.upsample_top = nn.ConvTranspose2d(code_dim, code_dim, 4, stride=2, padding=1)
        self.decoder = nn.Sequential(
            nn.Conv2d(2 * code_dim, hidden, 3, padding=1),
            *trunk(),
            nn.ConvTranspose2d(hidden, hidden // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden // 2, 3, 4, stride=2, padding=1),
        )

    def encode_levels(self, images: Tensor, quantize: Quantize) -> dict[str, Tensor]:
        """See ``QuantizedAutoencoder``."""
        features = self.bottom_encoder(images)
        top = quantize("top", self.top_encoder(features))
        bottom = self.to_bottom(torch.cat([self.top_decoder(top), features], dim=1))
        return {"top": top, "bottom": quantize("bottom", bottom)}

    def reconstruct(self, codes: Mapping[str, Tensor]) -> Tensor:
        """See ``QuantizedAutoencoder``."""
        upsampled = self.upsample_top(codes["top"])
        images: Tensor = self.decoder(torch.cat([upsampled, codes["bottom"]], dim=1))
        return images
