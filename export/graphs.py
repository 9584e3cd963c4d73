"""The two graphs of a bundle: a checkpoint's arithmetic between the arrays that a client has and wants.

B: batch. H, W: pixels. h, w: latent grid. N = B*h*w. K: codebook size. D: code dimension.

Normalization, rounding and clamping are inside, so that no client can get them wrong.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kohonen_tokenizer.service.runtime.manifest import tensor_name
from kohonen_tokenizer.training.autoencoder import QuantizedAutoencoder
from kohonen_tokenizer.training.quantizer import relative_distances

# torch.export takes a dimension of 1 for a constant: a batch has to have two images to be seen as one.
EXAMPLE_BATCH = 2


class _HalfGraph(nn.Module):
    """One half of a model, with its codebooks.

    Attributes:
        input_names: of the graph's inputs, in their order.
        output_names: of its outputs.
        latent_grids: by level, (h, w).
    """

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def __init__(self, model: QuantizedAutoencoder, *, image_size: int, without: tuple[str, ...]) -> None:
        super().__init__()
        self.image_size = image_size
        self.latent_grids = {
            level: model.latent_grid(level, image_size=image_size) for level in model.quantizers
        }
        self.codebooks = nn.Module()
        for level, quantizer in model.quantizers.items():
            self.codebooks.register_buffer(level, quantizer.codebook.detach().clone())
        self.model = _without(model, *without, *model.quantizer_parts)
        self.eval().requires_grad_(False)

    def codebook(self, level: str) -> Tensor:
        """Codes of a level, [K, D]."""
        codes = getattr(self.codebooks, level)
        assert isinstance(codes, Tensor)
        return codes

    def _look_up(self, level: str, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.codebook(level)).permute(0, 3, 1, 2)


class EncoderGraph(_HalfGraph):
    """Pixels uint8 [B, H, W, 3] -> tokens int32 [B, h, w] of each level (Eqs. 11-12 of Irie et al. 2023).

    The search is one matrix product, as in training, and not an equal 1x1 convolution: frameworks let
    convolutions, but not products, fall to TF32 by default, and the search needs all of float32.
    """

    def __init__(self, model: QuantizedAutoencoder, *, image_size: int) -> None:
        """The encoding half of ``model`` for images of ``image_size`` by ``image_size`` pixels."""
        super().__init__(model, image_size=image_size, without=model.decoder_parts)
        self.input_names = ("pixels",)
        self.output_names = tuple(map(tensor_name, self.latent_grids))

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Inputs to record the graph with."""
        return (torch.zeros(EXAMPLE_BATCH, self.image_size, self.image_size, 3, dtype=torch.uint8),)

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Tokens of pixels; a tuple where there are several levels."""
        tokens: dict[str, Tensor] = {}

        def quantize(level: str, latents: Tensor) -> Tensor:
            codebook = self.codebook(level)
            # Sizes are constants or -1: one that is read off the tensor would become operators of the graph.
            vectors = latents.permute(0, 2, 3, 1).reshape(-1, codebook.shape[1])
            nearest = relative_distances(vectors, codebook).argmin(1)
            tokens[level] = nearest.to(torch.int32).reshape(-1, *self.latent_grids[level])
            return self._look_up(level, tokens[level])

        self.model.encode_levels(self.model.normalize(pixels), quantize)
        return only(tuple(tokens.values()))


class DecoderGraph(_HalfGraph):
    """Tokens int32 [B, h, w] of each level -> pixels uint8 [B, H, W, 3] (Eqs. 13-14 of Irie et al. 2023)."""

    def __init__(self, model: QuantizedAutoencoder, *, image_size: int) -> None:
        """The decoding half of ``model`` for images of ``image_size`` by ``image_size`` pixels."""
        super().__init__(model, image_size=image_size, without=model.encoder_parts)
        self.input_names = tuple(map(tensor_name, self.latent_grids))
        self.output_names = ("pixels",)

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Inputs to record the graph with."""
        return tuple(
            torch.zeros(EXAMPLE_BATCH, *grid, dtype=torch.int32) for grid in self.latent_grids.values()
        )

    def forward(self, *tokens: Tensor) -> Tensor:
        """Pixels of the tokens of each level."""
        by_level = zip(self.latent_grids, tokens, strict=True)
        codes = {level: self._look_up(level, grid) for level, grid in by_level}
        return self.model.to_pixels(self.model.reconstruct(codes))


Graph = EncoderGraph | DecoderGraph


def only(tensors: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """The tensor itself where there is one: what a graph of one level takes and gives is no tuple."""
    return tensors[0] if len(tensors) == 1 else tensors


def _without(model: QuantizedAutoencoder, *parts: str) -> QuantizedAutoencoder:
    """A copy of ``model`` without ``parts``: torch.export would write their weights, used or not."""
    copied = copy.deepcopy(model)
    for part in parts:
        delattr(copied, part)
    return copied
