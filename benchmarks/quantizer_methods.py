"""Whole quantizer steps that are timed side by side: search, learning, and both gradients.

N: vectors. K: codebook size. D: code dimension. Every step takes the same N vectors and learns from them.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from kohonen_tokenizer.training.grid import Grid
from kohonen_tokenizer.training.neighborhood import HardNeighborhood, Neighborhood, NoNeighborhood
from kohonen_tokenizer.training.quantizer import KohonenQuantizer, assignment_sums, nearest_codes

GRID = Grid((16, 32))
CODE_DIM = 64
DECAY, EPSILON = 0.99, 1e-5
SIDE = 8
"""Of the latent grid: N vectors are N / 64 images of the CIFAR-10 model."""

KSOM = "KSOM"
EMA = "EMA-VQ"
EMA_WITHOUT_PRODUCT = "EMA-VQ, no A at all"
ON_ASSIGNMENTS = "KSOM, A on N x K"
PEER = "vector-quantize-pytorch"

Step = Callable[[], object]


def make_steps(vectors: Tensor) -> Mapping[str, Step]:
    """A step of each method on ``vectors`` [N, D]; the peer's where it can be imported."""
    steps: dict[str, Step] = {
        KSOM: _our_step(vectors, HardNeighborhood(shrink_step=0.1)),
        EMA: _our_step(vectors, NoNeighborhood()),
        EMA_WITHOUT_PRODUCT: _ema_step(vectors),
        ON_ASSIGNMENTS: _step_on_assignments(vectors),
    }
    if importlib.util.find_spec("vector_quantize_pytorch") is not None:
        steps[PEER] = _peer_step(vectors)
    return steps


def _our_step(vectors: Tensor, neighborhood: Neighborhood) -> Step:
    torch.manual_seed(0)
    quantizer = KohonenQuantizer(GRID, code_dim=CODE_DIM, neighborhood=neighborhood).to(vectors.device)
    latents = vectors.view(-1, SIDE, SIDE, CODE_DIM).permute(0, 3, 1, 2).detach().requires_grad_()
    gradient = torch.ones_like(latents)

    def step() -> None:
        latents.grad = None
        result = quantizer(latents)
        torch.autograd.backward([result.latents, result.commitment_loss], [gradient, None])

    return step


def _ema_step(vectors: Tensor) -> Step:
    """Eqs. 16-18 on our search and sums, with nothing in the place of the neighborhood."""
    w, m, n = _initial_state(vectors.device)

    def learn(x: Tensor) -> Tensor:
        indices = nearest_codes(x, w)
        quantized = F.embedding(indices, w)
        totals = assignment_sums(x, indices, GRID.size)
        _learn(w, m, n, sums=totals[:, :-1], counts=totals[:, -1])
        _perplexity(totals[:, -1])
        return quantized

    return _straight_through_step(vectors, learn)


def _step_on_assignments(vectors: Tensor) -> Step:
    """Eqs. 19-20 in the order in which they are written: choices [N, K], times A, times vectors."""
    w, m, n = _initial_state(vectors.device)
    distances = GRID.distances().float().to(vectors.device)
    neighborhood = HardNeighborhood(shrink_step=0.1)
    t = torch.zeros((), dtype=torch.int64, device=vectors.device)

    def learn(x: Tensor) -> Tensor:
        squared = x.square().sum(1, keepdim=True) + w.square().sum(1) - 2 * x @ w.T
        indices = squared.argmin(1)
        chosen = x.new_zeros(len(x), GRID.size).scatter_(1, indices[:, None], 1)
        quantized = chosen @ w
        reached = chosen @ neighborhood.matrix(distances, t)
        _learn(w, m, n, sums=reached.T @ x, counts=reached.sum(0))
        _perplexity(chosen.sum(0))
        t.add_(1)
        return quantized

    return _straight_through_step(vectors, learn)


def _peer_step(vectors: Tensor) -> Step:
    torch.manual_seed(0)
    peer = importlib.import_module("vector_quantize_pytorch")
    quantizer = peer.VectorQuantize(
        dim=CODE_DIM,
        codebook_size=GRID.size,
        decay=DECAY,
        eps=EPSILON,
        commitment_weight=0.25,
        # Straight through, as the others do it; the peer's default rotates gradients and costs more.
        rotation_trick=False,
    ).to(vectors.device)
    latents = vectors.view(-1, SIDE * SIDE, CODE_DIM).detach().requires_grad_()
    gradient = torch.ones_like(latents)

    def step() -> None:
        latents.grad = None
        quantized, _, commitment_loss = quantizer(latents)
        torch.autograd.backward([quantized, commitment_loss.sum()], [gradient, None])

    return step


def _initial_state(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Codebook, sums and counts before the first step."""
    torch.manual_seed(0)
    codebook = torch.randn(GRID.size, CODE_DIM).to(device)
    return codebook, codebook.clone(), torch.ones(GRID.size, device=device)


@torch.no_grad()
def _learn(w: Tensor, m: Tensor, n: Tensor, *, sums: Tensor, counts: Tensor) -> None:
    m.lerp_(sums, 1 - DECAY)
    n.lerp_(counts, 1 - DECAY)
    total = n.sum()
    n.add_(EPSILON).mul_(total / (total + len(n) * EPSILON))
    w.copy_(m / n[:, None])


def _perplexity(counts: Tensor) -> Tensor:
    share = counts / counts.sum()
    return torch.exp(-torch.xlogy(share, share).sum())


def _straight_through_step(vectors: Tensor, learn: Callable[[Tensor], Tensor]) -> Step:
    latents = vectors.detach().requires_grad_()
    gradient = torch.ones_like(latents)

    def step() -> None:
        latents.grad = None
        quantized = learn(latents.detach())
        output = latents + (quantized - latents.detach())
        torch.autograd.backward([output, F.mse_loss(latents, quantized)], [gradient, None])

    return step
