"""A differentiable relaxation of the Kohonen map: softmax in the place of hardmax (section 5 of the paper).

N: vectors in the batch (B*h*w). K: codebook size. D: code dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..grid import Grid
from ..neighborhood import Neighborhood
from ..quantizer import Quantized, nearest_codes, own_totals, perplexity, relative_distances


@dataclass(frozen=True, slots=True)
class Annealing:
    """A temperature that falls exponentially from ``initial`` to ``final`` in ``num_steps`` steps."""

    initial: float
    final: float
    num_steps: int

    def __post_init__(self) -> None:
        if not 0 < self.final <= self.initial < math.inf:
            raise ValueError(
                f"temperature {self.initial} to {self.final}: must be finite, over 0 and not rise; "
                "use e.g. 1 to 0.01"
            )
        if self.num_steps < 1:
            raise ValueError(f"anneal_steps {self.num_steps}: must be at least 1")

    def temperature(self, step: Tensor) -> Tensor:
        """The temperature [] at ``step``, int64 []; float64."""
        progress = (step.double() / self.num_steps).clamp(max=1)
        return self.initial * (self.final / self.initial) ** progress


class SoftmaxQuantizer(nn.Module):
    """Vector quantizer that mixes codes in training, and chooses one in evaluation.

    In training the latent is a mean of all codes, with weights softmax(-|z - w_k|^2 / (D T)) spread over the
    map by the neighborhood A(t) and made to sum to 1 again. All of it has a true gradient: codebook and
    networks learn from the reconstruction alone. As the temperature T falls the mean becomes the nearest code
    of Eq. 12, which evaluation takes. Eq. 6 has the product w_k . z for a score; its hardmax is not the
    nearest code, so the distance stands here, per dimension. The paper's variants failed when they were made
    discrete; it does not print them, and this is our reading.
    """

    codebook: nn.Parameter
    sum_over_ranks: Callable[[Tensor], Tensor]
    step: Tensor
    grid_distances: Tensor

    def __init__(
        self, grid: Grid, *, code_dim: int, neighborhood: Neighborhood, annealing: Annealing
    ) -> None:
        """A quantizer with K = ``grid.size`` codes drawn from N(0, 1), as those of the Kohonen map are."""
        super().__init__()
        if code_dim < 1:
            raise ValueError(f"code_dim {code_dim}: must be at least 1")
        self.grid = grid
        self.sum_over_ranks = own_totals
        self.neighborhood = neighborhood
        self.annealing = annealing
        self.codebook = nn.Parameter(torch.randn(grid.size, code_dim))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("grid_distances", grid.distances().float(), persistent=False)

    def forward(self, latents: Tensor) -> Quantized:
        """Quantize ``latents`` [B, D, h, w], softly in training mode; indices are of the nearest codes."""
        batch, dim, height, width = latents.shape
        latents = latents.to(self.codebook.dtype)
        vectors = latents.permute(0, 2, 3, 1).reshape(-1, dim)
        indices = nearest_codes(vectors.detach(), self.codebook.detach())
        if self.training:
            quantized = self._weights(vectors) @ self.codebook
            self.step.add_(1)
        else:
            quantized = F.embedding(indices, self.codebook)
        nothing = latents.new_zeros(())
        counts = torch.bincount(indices, minlength=self.grid.size)
        if self.training:
            counts = self.sum_over_ranks(counts)
        return Quantized(
            latents=quantized.view(batch, height, width, dim).permute(0, 3, 1, 2),
            indices=indices.view(batch, height, width),
            commitment_loss=nothing,
            codebook_loss=nothing,
            perplexity=perplexity(counts.to(vectors.dtype)),
        )

    def _weights(self, vectors: Tensor) -> Tensor:
        """Share of each code in each of ``vectors`` [N, D]: [N, K], rows sum to 1."""
        temperature = self.annealing.temperature(self.step).to(vectors.dtype)
        with torch.autocast(vectors.device.type, enabled=False):
            scores = -relative_distances(vectors, self.codebook) / (vectors.shape[1] * temperature)
            spread = scores.softmax(1) @ self.neighborhood.matrix(self.grid_distances, self.step)
        return spread / spread.sum(1, keepdim=True)

    @torch.no_grad()
    def replace_codebook(self, codes: Tensor) -> None:
        """Start from ``codes`` [K, D]."""
        self.codebook.copy_(codes)

    def lookup(self, indices: Tensor) -> Tensor:
        """Codes of the indices [B, h, w] as latents [B, D, h, w]."""
        return F.embedding(indices, self.codebook).permute(0, 3, 1, 2)
