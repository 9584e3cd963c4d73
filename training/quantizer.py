"""The quantizer: EMA-VQ and the online mini-batch Kohonen map as one algorithm.

N: vectors in the batch (B*h*w). K: codebook size. D: code dimension.

EMA-VQ (Eqs. 16-18 of Irie et al. 2023) is KSOM (Eqs. 19-21) with the identity for a neighborhood, so
there is one code path. By linearity A^T (E^T X) = (E A)^T X: the neighborhood is applied to the K x (D+1)
sums and counts and never to the N x K assignments, and its cost does not grow with the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .grid import Grid
from .neighborhood import Neighborhood
from .revival import NoRevival, Revival

# Rows searched at once, so that their distances stay in the cache between the product and the search: 4 MiB
# on a CPU and 32 MiB on a GPU, for K = 512. One buffer serves all rows, for on a CPU fresh memory costs as
# much as the product itself.
CPU_SEARCH_ROWS = 2_048
GPU_SEARCH_ROWS = 16_384


def relative_distances(vectors: Tensor, codebook: Tensor, *, out: Tensor | None = None) -> Tensor:
    """|w|^2 - 2 x.w for vectors [N, D] and codebook [K, D], [N, K]: squared distances less |x|^2.

    The constant of each row is left out, for the order of a row's entries is all that a search needs. Written
    to ``out`` if that is given.
    """
    return torch.addmm(codebook.square().sum(1), vectors, codebook.T, alpha=-2, out=out)


@torch.no_grad()
def nearest_codes(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest code of each vector (Eq. 12), int64 [N].

    ``vectors`` [N, D] and ``codebook`` [K, D] in the same float dtype. Autocast is off in here: on a smooth
    codebook bf16 and TF32 products choose another code in percents of all cases. Of TF32 the caller has to
    see to it that matrix products do not use it, which is torch's default.
    """
    num_rows = CPU_SEARCH_ROWS if vectors.device.type == "cpu" else GPU_SEARCH_ROWS
    buffer = vectors.new_empty(min(num_rows, len(vectors)), len(codebook))
    with torch.autocast(vectors.device.type, enabled=False):
        chunks = [
            relative_distances(rows, codebook, out=buffer[: len(rows)]).argmin(1)
            for rows in torch.split(vectors, num_rows)
        ]
    return torch.cat(chunks)


def assignment_sums(vectors: Tensor, indices: Tensor, codebook_size: int) -> Tensor:
    """Sum and count of the members of each code, [K, D+1]: the inner sums of Eqs. 19-20, side by side."""
    sums = vectors.new_zeros(codebook_size, vectors.shape[1]).index_add_(0, indices, vectors)
    # Not bincount, whose result has a length that a GPU would have to be waited for.
    ones = vectors.new_ones(1).expand(len(vectors))
    counts = vectors.new_zeros(codebook_size).scatter_add_(0, indices, ones)
    return torch.cat([sums, counts[:, None]], dim=1)


def perplexity(counts: Tensor) -> Tensor:
    """exp(-sum p log p) of usage counts [K]; appendix B.1 lost the minus sign."""
    probabilities = counts / counts.sum()
    return torch.exp(-torch.xlogy(probabilities, probabilities).sum())


@dataclass(frozen=True, slots=True)
class Quantized:
    """What the quantizer makes of a batch of latents [B, D, h, w]."""

    latents: Tensor
    """The codes chosen, [B, D, h, w]; its gradient goes straight through to the encoder's output."""

    indices: Tensor
    """Index of the code at each position, int64 [B, h, w]; of a residual quantizer [B, S, h, w]."""

    commitment_loss: Tensor
    """Mean over all elements of (sg(w) - e)^2, []. Eq. 15 sums over D: this is 1/D of it, as in practice."""

    codebook_loss: Tensor
    """What the codebook learns from by gradients, with its weight in it, []; 0 where it learns without."""

    perplexity: Tensor
    """Perplexity of the code usage in this batch, []."""


def on_first_map(indices: Tensor) -> Tensor:
    """Of indices [B, h, w], or [B, S, h, w] of S stages, those on the map that is ``grid``: [B, h, w]."""
    return indices if indices.ndim == 3 else indices[:, 0]


class VectorQuantizer(Protocol):
    """What a model, its training, its evaluation and its export ask of a quantizer, which is an nn.Module."""

    @property
    def grid(self) -> Grid:
        """The map that the codes are laid on."""
        ...

    @property
    def codebook(self) -> Tensor:
        """The codes, float [K, D]."""
        ...

    def __call__(self, latents: Tensor) -> Quantized:
        """Quantize ``latents`` [B, D, h, w] and, in training mode, learn from them."""
        ...

    def lookup(self, indices: Tensor) -> Tensor:
        """The latents [B, D, h, w] of ``Quantized.indices`` (Eq. 13)."""
        ...


@runtime_checkable
class SumsOverRanks(Protocol):
    """A quantizer that counts, or learns from, the batches of all processes that train together."""

    sum_over_ranks: Callable[[Tensor], Tensor]
    """Batch totals of this process to those of all: its own, by default."""


class KohonenQuantizer(nn.Module):
    """Vector quantizer whose codebook is learnt by a self-organizing map, not by gradients.

    In training mode each call does, in this order: search with the present codebook, gather from it,
    update it, count the step. In eval mode nothing changes.
    """

    codebook: Tensor
    ema_sums: Tensor
    ema_counts: Tensor
    step: Tensor
    grid_distances: Tensor

    sum_over_ranks: Callable[[Tensor], Tensor]

    def __init__(
        self,
        grid: Grid,
        *,
        code_dim: int,
        neighborhood: Neighborhood,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        initial_count: float = 1.0,
        update_unused: bool = True,
        revival: Revival | None = None,
    ) -> None:
        """A quantizer with K = ``grid.size`` codes drawn from N(0, 1).

        ``decay`` is 1 - beta of Eqs. 16-21. ``initial_count`` is N(0): 1 is the paper's recommendation, 0
        the older practice; m(0) is a copy of the codebook. ``update_unused``: whether codes that the batch
        does not reach, with no members nor neighbors with members, have their averages decayed ("Update-0"
        of Table 1). ``revival``: what is done about codes without members, by default nothing.
        """
        super().__init__()
        if code_dim < 1:
            raise ValueError(f"code_dim {code_dim}: must be at least 1")
        if not 0 <= decay < 1:
            raise ValueError(f"decay {decay}: must be in [0, 1); the paper uses 0.99")
        if not 0 <= epsilon < math.inf:
            raise ValueError(f"epsilon {epsilon}: must be finite and not negative; the recipe uses 1e-5")
        if not 0 <= initial_count < math.inf:
            raise ValueError(
                f"initial_count {initial_count}: must be finite and not negative; the paper recommends 1"
            )
        if epsilon == 0 and initial_count == 0 and update_unused:
            raise ValueError("epsilon 0: with initial_count 0 unused codes divide by zero; use 1e-5")
        self.grid = grid
        self.neighborhood = neighborhood
        self.decay = decay
        self.epsilon = epsilon
        self.update_unused = update_unused
        self.revival = NoRevival() if revival is None else revival
        self.sum_over_ranks = own_totals
        codebook = torch.randn(grid.size, code_dim)
        self.register_buffer("codebook", codebook)
        self.register_buffer("ema_sums", codebook.clone())
        self.register_buffer("ema_counts", torch.full((grid.size,), float(initial_count)))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        # Derived from the grid, so it stays out of the checkpoint.
        self.register_buffer("grid_distances", grid.distances().float(), persistent=False)

    def forward(self, latents: Tensor) -> Quantized:
        """Quantize ``latents`` [B, D, h, w] and, in training mode, learn from them (Eqs. 12-13, 19-21)."""
        batch, dim, height, width = latents.shape
        latents = latents.to(self.codebook.dtype)
        vectors = latents.permute(0, 2, 3, 1).reshape(-1, dim)
        detached = vectors.detach()
        indices = nearest_codes(detached, self.codebook)
        quantized = F.embedding(indices, self.codebook)
        batch_totals = assignment_sums(detached, indices, self.grid.size)
        if self.training:
            batch_totals = self.sum_over_ranks(batch_totals)
            self._update(batch_totals)
        # As rows too: the gradient of a permuted tensor costs several copies.
        straight_through = vectors + (quantized - detached)
        return Quantized(
            latents=straight_through.view(batch, height, width, dim).permute(0, 3, 1, 2),
            indices=indices.view(batch, height, width),
            commitment_loss=F.mse_loss(vectors, quantized),
            codebook_loss=latents.new_zeros(()),
            perplexity=perplexity(batch_totals[:, -1]),
        )

    @torch.no_grad()
    def _update(self, batch_totals: Tensor) -> None:
        """One step of Eqs. 19-21 from the batch's sums and counts [K, D+1], in place."""
        neighborhood = self.neighborhood.matrix(self.grid_distances, self.step)
        with torch.autocast(batch_totals.device.type, enabled=False):
            # A^T totals; in this order the product needs no transposed A and takes two thirds of the time.
            weighted = (batch_totals.T @ neighborhood).T
        sums, counts = weighted[:, :-1], weighted[:, -1]
        if self.update_unused:
            self.ema_sums.lerp_(sums, 1 - self.decay)
            self.ema_counts.lerp_(counts, 1 - self.decay)
            # Additive smoothing, stored back as in the published implementation: with N(0) = 0 an unused
            # code's count then recovers within some hundred steps instead of staying near epsilon.
            total = self.ema_counts.sum()
            self.ema_counts.add_(self.epsilon).mul_(total / (total + self.grid.size * self.epsilon))
            self.codebook.copy_(self.ema_sums / self.ema_counts[:, None])
        else:
            reached = counts > 0
            beta = (1 - self.decay) * reached.to(counts.dtype)
            self.ema_sums.lerp_(sums, beta[:, None])
            self.ema_counts.lerp_(counts, beta)
            # Every count that is divided by here is over 0: no smoothing is needed.
            means = self.ema_sums / self.ema_counts[:, None]
            self.codebook.copy_(torch.where(reached[:, None], means, self.codebook))
        self.revival.after_update(self, batch_totals[:, -1])
        self.step.add_(1)

    @torch.no_grad()
    def replace_codebook(self, codes: Tensor) -> None:
        """Start from ``codes`` [K, D]: they become the codebook, and m(0) a copy of it."""
        self.codebook.copy_(codes)
        self.ema_sums.copy_(codes)

    def lookup(self, indices: Tensor) -> Tensor:
        """Codes of the indices [B, h, w] as latents [B, D, h, w] (Eq. 13)."""
        return F.embedding(indices, self.codebook).permute(0, 3, 1, 2)


def own_totals(totals: Tensor) -> Tensor:
    """What a process that trains alone sums ``totals`` to."""
    return totals
