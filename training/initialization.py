"""The first codebook, from the first batch instead of from N(0, 1).

N: vectors in the batch (B*h*w). K: codebook size. D: code dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .errors import ConfigError
from .grid import Grid
from .quantizer import assignment_sums, nearest_codes

K_MEANS_ITERATIONS = 20

MAX_ROWS_PER_CODE = 64
"""Of a larger batch k-means sees a random sample: more vectors hardly move a mean."""

ChooseCodes = Callable[[Tensor, int, torch.Generator], Tensor]
"""From vectors [N, D], K and a CPU generator to codes [K, D]."""


@runtime_checkable
class HasCodebook(Protocol):
    """A quantizer that can start from given codes."""

    grid: Grid

    def replace_codebook(self, codes: Tensor) -> None:
        """Start from ``codes`` [K, D]."""
        ...


def sample_codes(vectors: Tensor, codebook_size: int, generator: torch.Generator) -> Tensor:
    """Codes [K, D]: that many different ones of ``vectors`` [N, D] (as in Zeghidour et al. 2021).

    Raises ConfigError where there are fewer.
    """
    # In residuals zero comes often: once for each vector that is itself a code of the stage before.
    vectors = torch.unique(vectors, dim=0)
    if len(vectors) < codebook_size:
        raise ConfigError(
            f"batch_size: the first batch has {len(vectors)} different latent vectors for "
            f"{codebook_size} codes; "
            'raise it, or use initialization = "normal"'
        )
    chosen = torch.randperm(len(vectors), generator=generator)[:codebook_size]
    return vectors[chosen.to(vectors.device)]


def k_means_codes(vectors: Tensor, codebook_size: int, generator: torch.Generator) -> Tensor:
    """Codes [K, D]: centers of k-means (Lloyd 1982) on ``vectors`` [N, D], begun with a sample of them.

    A center without members stays where it is. Raises ConfigError where there are fewer vectors than codes.
    """
    rows = torch.randperm(len(vectors), generator=generator)[: MAX_ROWS_PER_CODE * codebook_size]
    vectors = vectors[rows.to(vectors.device)]
    codes = sample_codes(vectors, codebook_size, generator)
    for _ in range(K_MEANS_ITERATIONS):
        totals = assignment_sums(vectors, nearest_codes(vectors, codes), codebook_size)
        sums, counts = totals[:, :-1], totals[:, -1:]
        codes = torch.where(counts > 0, sums / counts.clamp(min=1), codes)
    return codes


CHOOSE_CODES: dict[Literal["normal", "first_batch", "k_means"], ChooseCodes | None] = {
    "normal": None,
    "first_batch": sample_codes,
    "k_means": k_means_codes,
}
"""How each initialization chooses its codes; None leaves those drawn from N(0, 1)."""


def laid_on_map(codes: Tensor, grid: Grid) -> Tensor:
    """The same codes [K, D], ordered for the map by their principal components.

    The first leads along the longer side, the second across it. A sample, and the centers of k-means, come
    in no order, and a map that starts from them would have to unfold first.
    """
    centered = codes - codes.mean(0)
    components = torch.linalg.svd(centered, full_matrices=False).Vh
    scores = centered @ components.T
    order = scores[:, 0].argsort()
    if len(grid.shape) == 1 or scores.shape[1] == 1:
        return codes[order]
    short, long = sorted(grid.shape)
    slices = order.view(long, short)
    slices = slices.gather(1, scores[slices, 1].argsort(1))
    return codes[(slices if grid.shape[0] == long else slices.T).flatten()]


@torch.no_grad()
def initialize_codebooks(model: nn.Module, images: Tensor, *, choose: ChooseCodes, seed: int) -> None:
    """Give each quantizer in ``model`` codes chosen from its latents of ``images``, laid on its map.

    Each gets them just before its first search, so that what depends on its output, a further level or stage,
    sees the codes it will start with. Nothing else changes: no step is counted. Raises ConfigError where the
    batch is too small.
    """
    generator = torch.Generator().manual_seed(seed)

    def set_codes(quantizer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        assert isinstance(quantizer, HasCodebook)
        (latents,) = arguments
        vectors = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1]).float()
        codes = choose(vectors, quantizer.grid.size, generator)
        quantizer.replace_codebook(laid_on_map(codes, quantizer.grid))

    hooks = [
        module.register_forward_pre_hook(set_codes)
        for module in model.modules()
        if isinstance(module, HasCodebook)
    ]
    was_training = model.training
    try:
        model.eval()(images)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
