"""The two graphs of a bundle: a checkpoint's arithmetic between the arrays that a client has and wants.

B: batch. H, W: pixels. h, w: latent grid. N = B*h*w. K: codebook size. D: code dimension.

Normalization, rounding and clamping are inside, so that no client can get them wrong.
"""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kohonen_tokenizer.training.model import DOWNSAMPLING, VQVAE
from kohonen_tokenizer.training.quantizer import relative_distances

# torch.export takes a dimension of 1 for a constant: a batch has to have two images to be seen as one.
EXAMPLE_BATCH = 2


class EncoderGraph(nn.Module):
    """Pixels uint8 [B, H, W, 3] -> tokens int32 [B, h, w] (Eqs. 11-12 of Irie et al. 2023).

    The search is one matrix product, as in training, and not an equal 1x1 convolution: frameworks let
    convolutions, but not products, fall to TF32 by default, and the search needs all of float32.
    """

    input_name: ClassVar[str] = "pixels"
    output_name: ClassVar[str] = "tokens"
    codebook: Tensor

    def __init__(self, model: VQVAE, *, image_size: int) -> None:
        """The encoding half of ``model`` for images of ``image_size`` by ``image_size`` pixels."""
        super().__init__()
        self.image_size = image_size
        self.model = _without(model, "quantizer", "decoder")
        self.register_buffer("codebook", model.quantizer.codebook.detach().clone())
        self.eval().requires_grad_(False)

    def example_input(self) -> Tensor:
        """An input to record the graph with."""
        return torch.zeros(EXAMPLE_BATCH, self.image_size, self.image_size, 3, dtype=torch.uint8)

    def forward(self, pixels: Tensor) -> Tensor:
        """Tokens of pixels."""
        side = self.image_size // DOWNSAMPLING
        latents = self.model.encoder(self.model.normalize(pixels))
        # Sizes are constants or -1: a size that is read off the tensor would become operators of the graph.
        vectors = latents.permute(0, 2, 3, 1).reshape(-1, self.codebook.shape[1])
        tokens = relative_distances(vectors, self.codebook).argmin(1)
        return tokens.to(torch.int32).reshape(-1, side, side)


class DecoderGraph(nn.Module):
    """Tokens int32 [B, h, w] -> pixels uint8 [B, H, W, 3] (Eqs. 13-14 of Irie et al. 2023)."""

    input_name: ClassVar[str] = "tokens"
    output_name: ClassVar[str] = "pixels"
    codebook: Tensor

    def __init__(self, model: VQVAE, *, image_size: int) -> None:
        """The decoding half of ``model`` for images of ``image_size`` by ``image_size`` pixels."""
        super().__init__()
        self.image_size = image_size
        self.model = _without(model, "quantizer", "encoder")
        self.register_buffer("codebook", model.quantizer.codebook.detach().clone())
        self.eval().requires_grad_(False)

    def example_input(self) -> Tensor:
        """An input to record the graph with."""
        side = self.image_size // DOWNSAMPLING
        return torch.zeros(EXAMPLE_BATCH, side, side, dtype=torch.int32)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pixels of tokens."""
        latents = F.embedding(tokens, self.codebook).permute(0, 3, 1, 2)
        return self.model.to_pixels(self.model.decoder(latents))


Graph = EncoderGraph | DecoderGraph


def _without(model: VQVAE, *parts: str) -> VQVAE:
    """A copy of ``model`` without ``parts``: torch.export would write their weights, used or not."""
    copied = copy.deepcopy(model)
    for part in parts:
        delattr(copied, part)
    return copied
