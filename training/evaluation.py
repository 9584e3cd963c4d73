"""All that a model is judged by, in one pass over a set of images.

B: batch. h, w: latent grid. N: latent vectors in all. K: codebook size. D: code dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from .checkpoint import Checkpoint
from .image_quality import peak_signal_to_noise, structural_similarity
from .map_order import code_distances, topographic_product, trustworthiness
from .topology import CodebookUsage, MapQuality, codebook_usage, map_quality

MAX_OFFSET = 4
"""Tokens are moved over the map by up to this many nodes along each axis."""

TRUST_NEIGHBORS = 10
"""Neighbors that trustworthiness looks at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The figures of one checkpoint on one set of images."""

    checkpoint_sha256: str
    """Of the checkpoint's weights: ties these figures to them."""

    step: int
    """Optimizer steps that the checkpoint had."""

    data: str
    """Name of the data."""

    split: str
    """Which of its images: ``test`` or ``validation``."""

    num_images: int
    """How many."""

    loss: float
    """Mean squared error over all elements of normalized images, without commitment: the paper's measure."""

    psnr: float
    """Mean over images, dB, of 8-bit reconstructions."""

    ssim: float
    """Mean over images."""

    usage: CodebookUsage
    """Perplexity and used share of the codes over all images."""

    map: MapQuality
    """Quantization error and topographic errors over all latent vectors, beside their nulls."""

    trustworthiness: float
    """Of the map as an embedding of the codebook, 10 neighbors; 0.5 is near chance, 1 perfect."""

    topographic_product: float | None
    """Of map and codebook: 0 is perfect, under 0 says too few dimensions; None where two codes are equal."""

    psnr_by_offset: tuple[float, ...]
    """PSNR in dB after every token is moved by 0, 1, ... nodes along each axis of the map (Figure 5)."""


@torch.inference_mode()
def evaluate(
    checkpoint: Checkpoint, pixels: Tensor, *, split: str, device: torch.device, batch_size: int = 256
) -> Evaluation:
    """Judge ``checkpoint`` on images uint8 [N, H, W, 3]. A map too small for an offset leaves it out."""
    model = checkpoint.model().to(device=device)
    quantizer = model.quantizer
    offsets = range(min(MAX_OFFSET, quantizer.grid.max_offset) + 1)
    squared_error = 0.0
    psnr_sums = [0.0 for _ in offsets]
    ssim_sum = 0.0
    latents, indices = [], []
    for batch in tqdm(torch.split(pixels, batch_size), desc="evaluate", unit="batch", dynamic_ncols=True):
        original = batch.to(device)
        images = model.normalize(original)
        encoded = model.encoder(images)
        chosen = quantizer(encoded).indices
        squared_error += float(F.mse_loss(model.decoder(quantizer.lookup(chosen)), images, reduction="sum"))
        for offset in offsets:
            shifted = model.decode(quantizer.grid.shift(chosen, offset))
            psnr_sums[offset] += float(peak_signal_to_noise(shifted, original).sum())
            if offset == 0:
                ssim_sum += float(structural_similarity(shifted, original).sum())
        latents.append(encoded.permute(0, 2, 3, 1).reshape(-1, encoded.shape[1]).cpu())
        indices.append(chosen.cpu())
    codebook, grid = quantizer.codebook.cpu(), quantizer.grid
    distances = code_distances(codebook), grid.distances()
    trust_neighbors = min(TRUST_NEIGHBORS, (grid.size - 1) // 2)
    return Evaluation(
        checkpoint_sha256=checkpoint.weights_sha256,
        step=checkpoint.step,
        data=checkpoint.config.data.name,
        split=split,
        num_images=len(pixels),
        loss=squared_error / pixels.numel(),
        psnr=psnr_sums[0] / len(pixels),
        ssim=ssim_sum / len(pixels),
        usage=codebook_usage(torch.cat(indices), codebook_size=grid.size),
        map=map_quality(torch.cat(latents), codebook, grid),
        trustworthiness=trustworthiness(*distances, num_neighbors=trust_neighbors),
        topographic_product=topographic_product(*distances),
        psnr_by_offset=tuple(total / len(pixels) for total in psnr_sums),
    )
