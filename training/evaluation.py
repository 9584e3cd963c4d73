"""All that a model is judged by, in one pass over a set of images.

B: batch. h, w: latent grid. N: images. K: codebook size. D: code dimension.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from tqdm import tqdm

from .autoencoder import QuantizedAutoencoder
from .checkpoint import Checkpoint
from .data import mean_over_sets
from .image_quality import peak_signal_to_noise, structural_similarity
from .map_order import code_distances, topographic_product, trustworthiness
from .quantizer import VectorQuantizer, on_first_map, perplexity
from .topology import CodebookUsage, MapQuality, map_quality

MAX_OFFSET = 4
"""Tokens are moved over the map by up to this many nodes along each axis."""

TRUST_NEIGHBORS = 10
"""Neighbors that trustworthiness looks at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelEvaluation:
    """The figures of one level of tokens and its map."""

    usage: CodebookUsage
    """Perplexity and used share of the codes over all images."""

    map: MapQuality
    """Quantization error and topographic errors over all latent vectors, beside their nulls."""

    trustworthiness: float
    """Of the map as an embedding of the codebook, 10 neighbors; 0.5 is near chance, 1 perfect."""

    topographic_product: float | None
    """Of map and codebook: 0 is perfect, under 0 says too few dimensions; None where two codes are equal."""

    psnr_by_offset: tuple[float, ...]
    """PSNR in dB after every token of this level, and of no other, is moved by 0, 1, ... nodes along each
    axis of the map (Figures 8 and 9)."""


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

    bits_per_image: float
    """Tokens of an image times log2 of their codebook's size, summed over levels and stages."""

    psnr_by_offset: tuple[float, ...]
    """PSNR in dB after every token of all levels is moved by 0, 1, ... nodes along each axis (Figure 5)."""

    levels: dict[str, LevelEvaluation]
    """By level."""


class _LevelSums:
    """What a level's figures are made of, batch by batch: all vectors of a large set fill the memory."""

    def __init__(self, quantizer: VectorQuantizer) -> None:
        self.codebook = quantizer.codebook
        self.grid = quantizer.grid
        self.counts = torch.zeros(quantizer.grid.size, dtype=torch.int64, device=quantizer.codebook.device)
        self.offsets = range(min(MAX_OFFSET, quantizer.grid.max_offset) + 1)
        self.map: dict[str, float] = defaultdict(float)
        self.num_vectors = 0

    def add(self, latents: Tensor, indices: Tensor) -> None:
        """Latents [B, D, h, w] and their indices [B, h, w], or [B, S, h, w]: the first stage counts."""
        vectors = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
        quality = map_quality(vectors, self.codebook, self.grid)
        for field in fields(quality):
            self.map[field.name] += getattr(quality, field.name) * len(vectors)
        self.num_vectors += len(vectors)
        self.counts += torch.bincount(on_first_map(indices).flatten(), minlength=len(self.counts))

    def evaluation(self, psnr_by_offset: tuple[float, ...]) -> LevelEvaluation:
        """The figures of all that was added."""
        size = len(self.counts)
        distances = code_distances(self.codebook.cpu()), self.grid.distances()
        return LevelEvaluation(
            usage=CodebookUsage(
                used_share=float((self.counts > 0).double().mean()),
                perplexity=float(perplexity(self.counts.double())),
            ),
            map=MapQuality(**{name: total / self.num_vectors for name, total in self.map.items()}),
            trustworthiness=trustworthiness(*distances, num_neighbors=min(TRUST_NEIGHBORS, (size - 1) // 2)),
            topographic_product=topographic_product(*distances),
            psnr_by_offset=psnr_by_offset,
        )


@torch.inference_mode()
def evaluate(
    checkpoint: Checkpoint,
    pixels: Tensor,
    *,
    split: str,
    device: torch.device,
    batch_size: int = 256,
    sets: Mapping[str, slice] | None = None,
) -> Evaluation:
    """Judge ``checkpoint`` on images uint8 [N, H, W, 3]. A map too small for an offset leaves it out.

    ``sets`` are parts of the images: loss, PSNR and SSIM are then the unweighted mean of theirs, and all else
    is of all images together.
    """
    sets = sets or {split: slice(None)}
    model = checkpoint.model().to(device=device)
    sums = {level: _LevelSums(quantizer) for level, quantizer in model.quantizers.items()}
    common_offsets = min((level_sums.offsets for level_sums in sums.values()), key=len)[1:]
    by_image: dict[tuple[str, str, int], list[Tensor]] = defaultdict(list)
    for batch in tqdm(torch.split(pixels, batch_size), desc="evaluate", unit="batch", dynamic_ncols=True):
        original = batch.to(device)
        images = model.normalize(original)
        result = model(images)
        indices = {level: quantized.indices for level, quantized in result.quantized.items()}
        by_image["loss", "", 0].append((result.images - images).square().flatten(1).double().mean(1))
        decoded = model.decode(indices)
        by_image["ssim", "", 0].append(structural_similarity(decoded, original))
        by_image["psnr", "", 0].append(peak_signal_to_noise(decoded, original))
        for level, level_sums in sums.items():
            level_sums.add(result.encoded[level], indices[level])
            for offset in level_sums.offsets[1:]:
                moved = model.decode(_moved(indices, model, (level,), offset=offset))
                by_image["psnr", level, offset].append(peak_signal_to_noise(moved, original))
        for offset in common_offsets:
            moved = model.decode(_moved(indices, model, sums, offset=offset))
            by_image["psnr", "", offset].append(peak_signal_to_noise(moved, original))
    means = {key: mean_over_sets(torch.cat(values).cpu(), sets) for key, values in by_image.items()}
    psnr = means["psnr", "", 0]
    return Evaluation(
        checkpoint_sha256=checkpoint.weights_sha256,
        step=checkpoint.step,
        data=checkpoint.config.data.name,
        split=split,
        num_images=len(pixels),
        loss=means["loss", "", 0],
        psnr=psnr,
        ssim=means["ssim", "", 0],
        bits_per_image=model.bits_per_image(indices),
        psnr_by_offset=(psnr, *(means["psnr", "", offset] for offset in common_offsets)),
        levels={
            level: level_sums.evaluation(
                (psnr, *(means["psnr", level, offset] for offset in level_sums.offsets[1:]))
            )
            for level, level_sums in sums.items()
        },
    )


def _moved(
    indices: Mapping[str, Tensor], model: QuantizedAutoencoder, levels: Iterable[str], *, offset: int
) -> dict[str, Tensor]:
    """``indices`` with those of ``levels`` moved over their maps."""
    quantizers = model.quantizers
    return {**indices, **{level: quantizers[level].grid.shift(indices[level], offset) for level in levels}}
