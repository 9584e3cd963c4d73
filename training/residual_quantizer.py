"""Residual quantization (Lee et al. 2022): several Kohonen maps, each of what the ones before it left.

B: batch. h, w: latent grid. S: stages. D: code dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .grid import Grid
from .quantizer import KohonenQuantizer, Quantized


class ResidualQuantizer(nn.Module):
    """Vector quantizer that writes a latent as the sum of one code of each stage.

    ``Quantized.indices`` are int64 [B, S, h, w], the coarsest stage first. ``grid`` and ``codebook`` are the
    first stage's, whose map is one of the latents themselves; the others are maps of differences.
    """

    stages: nn.ModuleList

    def __init__(self, stages: Sequence[KohonenQuantizer]) -> None:
        """A quantizer of ``stages`` of one codebook size and code dimension, two or more."""
        super().__init__()
        if len(stages) < 2:
            raise ValueError(
                f"num_stages {len(stages)}: must be at least 2; one stage is the plain quantizer"
            )
        self.stages = nn.ModuleList(stages)

    @property
    def grid(self) -> Grid:
        """The map of the first stage."""
        return self._stage(0).grid

    @property
    def codebook(self) -> Tensor:
        """Codes of the first stage, [K, D]."""
        return self._stage(0).codebook

    def forward(self, latents: Tensor) -> Quantized:
        """Quantize ``latents`` [B, D, h, w] and, in training mode, learn from them stage by stage.

        The commitment loss is the sum over the stages of ||z - sg[what the stages so far add up to]||^2, each
        a mean over elements; the perplexity is the mean of the stages'.
        """
        latents = latents.to(self.codebook.dtype)
        total = torch.zeros_like(latents)
        parts: list[Quantized] = []
        for stage in self.stages:
            part: Quantized = stage(latents - total)
            total = total + part.latents.detach()
            parts.append(part)
        return Quantized(
            latents=latents + (total - latents).detach(),
            indices=torch.stack([part.indices for part in parts], dim=1),
            commitment_loss=torch.stack([part.commitment_loss for part in parts]).sum(),
            codebook_loss=latents.new_zeros(()),
            perplexity=torch.stack([part.perplexity for part in parts]).mean(),
        )

    def lookup(self, indices: Tensor) -> Tensor:
        """Sums of the codes of the indices [B, S, h, w] as latents [B, D, h, w]."""
        codes = [self._stage(number).lookup(index) for number, index in enumerate(indices.unbind(1))]
        return torch.stack(codes).sum(0)

    def _stage(self, number: int) -> KohonenQuantizer:
        stage = self.stages[number]
        assert isinstance(stage, KohonenQuantizer)
        return stage
