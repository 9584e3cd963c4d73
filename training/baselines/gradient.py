"""A codebook that is trained by gradients: the VQ-VAE as it was first published.

N: vectors in the batch (B*h*w). K: codebook size. D: code dimension.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..grid import Grid
from ..quantizer import Quantized, nearest_codes, own_totals, perplexity


class GradientQuantizer(nn.Module):
    """Vector quantizer whose codes are parameters, pulled to their members by the codebook loss.

    That is ||sg[z_e(x)] - e||^2, the second term of Eq. 3 of van den Oord et al. 2017, as a mean over
    elements. The optimizer of the networks trains it. The grid only says where a code lies on the map;
    nothing here makes neighbors alike.
    """

    codebook: nn.Parameter

    sum_over_ranks: Callable[[Tensor], Tensor]

    def __init__(self, grid: Grid, *, code_dim: int) -> None:
        """A quantizer with K = ``grid.size`` codes drawn from N(0, 1), as those of the Kohonen map are."""
        super().__init__()
        if code_dim < 1:
            raise ValueError(f"code_dim {code_dim}: must be at least 1")
        self.grid = grid
        self.sum_over_ranks = own_totals
        self.codebook = nn.Parameter(torch.randn(grid.size, code_dim))

    def forward(self, latents: Tensor) -> Quantized:
        """Quantize ``latents`` [B, D, h, w]; the losses have gradients for encoder and codebook."""
        batch, dim, height, width = latents.shape
        latents = latents.to(self.codebook.dtype)
        vectors = latents.permute(0, 2, 3, 1).reshape(-1, dim).detach()
        indices = nearest_codes(vectors, self.codebook.detach())
        chosen = F.embedding(indices, self.codebook)
        quantized = chosen.detach().view(batch, height, width, dim).permute(0, 3, 1, 2)
        counts = torch.bincount(indices, minlength=self.grid.size)
        if self.training:
            counts = self.sum_over_ranks(counts)
        return Quantized(
            latents=latents + (quantized - latents).detach(),
            indices=indices.view(batch, height, width),
            commitment_loss=F.mse_loss(latents, quantized),
            codebook_loss=self.codebook_loss(vectors, indices=indices, chosen=chosen),
            perplexity=perplexity(counts.to(vectors.dtype)),
        )

    def codebook_loss(self, vectors: Tensor, *, indices: Tensor, chosen: Tensor) -> Tensor:
        """Loss [] of the codebook for detached ``vectors`` [N, D] whose codes are ``chosen`` [N, D]."""
        return F.mse_loss(chosen, vectors)

    @torch.no_grad()
    def replace_codebook(self, codes: Tensor) -> None:
        """Start from ``codes`` [K, D]."""
        self.codebook.copy_(codes)

    def lookup(self, indices: Tensor) -> Tensor:
        """Codes of the indices [B, h, w] as latents [B, D, h, w]."""
        return F.embedding(indices, self.codebook).permute(0, 3, 1, 2)
