"""Quality measures of a map by its inputs: how well its codes quantize them, and neighbors stay neighbors.

Definitions of these measures differ between libraries, so each docstring says which one it follows. All of
them compute in float64: on a smooth codebook, as a Kohonen map makes it, reduced precision picks other codes.
Tensors of one call lie on one device, and inputs, codebooks and neighborhoods may have any float dtype.

N: number of inputs. K: number of codes (units). D: dimensions of a code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .grid import Connectivity, Grid
from .quantizer import perplexity, relative_distances

# Inputs searched at once: with 512 codes a chunk's distances take 32 MiB.
CHUNK_SIZE = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class MapQuality:
    """The measures that need the inputs, from one search, with their nulls beside them."""

    quantization_error: float
    """Mean distance from an input to its best unit, in units of the inputs."""
    topographic_error_8: float
    """Share of inputs whose two best units are not among each other's eight neighbors (six of hexagons)."""
    topographic_error_8_null: float
    """What ``topographic_error_8`` would be on average if the codes lay on the map in random order."""
    topographic_error_4: float
    """Share of inputs whose two best units are not among each other's four neighbors (six of hexagons)."""
    topographic_error_4_null: float
    """What ``topographic_error_4`` would be on average if the codes lay on the map in random order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CodebookUsage:
    """How much of a codebook a set of tokens uses."""

    used_share: float
    """Share of the codes that occur at least once, over 0 and up to 1."""
    perplexity: float
    """exp(-sum p log p), from 1 (one code) to K (all alike); the paper's B.1 lacks the minus sign."""


def map_quality(inputs: Tensor, codebook: Tensor, grid: Grid) -> MapQuality:
    """Quantization error and both topographic errors, from a single search.

    ``inputs`` is [N, D], ``codebook`` [K, D] of the codes of ``grid``. Each field is the function of its
    name. Raises ValueError without inputs, or with fewer than two codes.
    """
    units = two_best_units(inputs, codebook)
    return MapQuality(
        quantization_error=_mean_distance(inputs, codebook, units[:, 0]),
        topographic_error_8=_share_apart(units, grid, connectivity=8),
        topographic_error_8_null=topographic_error_null(grid, connectivity=8),
        topographic_error_4=_share_apart(units, grid, connectivity=4),
        topographic_error_4_null=topographic_error_null(grid, connectivity=4),
    )


def quantization_error(inputs: Tensor, codebook: Tensor) -> float:
    """Mean of ||x - w_best|| over inputs [N, D], w_best the nearest of [K, D]: not squared, as in MiniSom.

    Raises ValueError without inputs, or with fewer than two codes.
    """
    return _mean_distance(inputs, codebook, two_best_units(inputs, codebook)[:, 0])


def topographic_error(inputs: Tensor, codebook: Tensor, grid: Grid, *, connectivity: Connectivity) -> float:
    """Share of inputs [N, D] whose two best units are not adjacent on the map (Kiviluoto 1996).

    ``codebook`` is [K, D] of the codes of ``grid``. Adjacent is what ``Grid.adjacency`` says: with
    ``connectivity`` 8, MiniSom's rule, the eight around, with 4 those that share an edge; on a line, and
    among hexagons, both are the same. Read it beside :func:`topographic_error_null`. Raises ValueError as
    :func:`map_quality` does.
    """
    return _share_apart(two_best_units(inputs, codebook), grid, connectivity=connectivity)


def topographic_error_null(grid: Grid, *, connectivity: Connectivity) -> float:
    """Exact expectation of the topographic error when the codes are put on the map in random order.

    Under a uniform permutation any two codes fall on a uniform pair of units, adjacent with probability
    (mean number of adjacent units) / (K - 1), whatever the inputs. The expectation is 1 - 7.445 / 511 = 0.985
    for a rectangular 16 by 32 map with ``connectivity`` 8. Raises ValueError for a map of one unit.
    """
    num_units = grid.size
    if num_units < 2:
        raise ValueError(f"map of size {num_units}: a topographic error needs at least 2 units")
    num_adjacent = grid.adjacency(connectivity=connectivity).sum().item()
    return 1 - num_adjacent / (num_units * (num_units - 1))


def distortion(inputs: Tensor, codebook: Tensor, *, neighborhood: Tensor) -> float:
    """Mean over inputs of sum_k h(best, k) ||x - w_k||^2: quantization and order in one measure.

    ``inputs`` is [N, D], ``codebook`` [K, D], ``neighborhood`` h [K, K] with the winner as its first index.
    The distance is squared and the sum divided by N; MiniSom's ``distortion_measure`` does neither. Raises
    ValueError without inputs.
    """
    _check_inputs(inputs)
    codebook, neighborhood = codebook.double(), neighborhood.double()
    total = torch.zeros((), dtype=torch.float64, device=inputs.device)
    for chunk in torch.split(inputs, CHUNK_SIZE):
        x = chunk.double()
        # The expanded square can fall below 0 by rounding where x is a code.
        squared = (relative_distances(x, codebook) + x.square().sum(1, keepdim=True)).clamp_(min=0)
        total += (neighborhood[squared.argmin(dim=1)] * squared).sum()
    return total.item() / len(inputs)


def codebook_usage(indices: Tensor, *, codebook_size: int) -> CodebookUsage:
    """Used share and perplexity of tokens ``indices``, integers of any shape, over all of them at once.

    The perplexity of a batch depends on the batch's size; take it over a whole data set. Raises ValueError
    without tokens, or for tokens outside [0, ``codebook_size``).
    """
    if indices.numel() == 0:
        raise ValueError("0 tokens: codebook usage needs at least 1")
    lowest, highest = indices.min().item(), indices.max().item()
    if lowest < 0 or highest >= codebook_size:
        raise ValueError(
            f"tokens from {lowest} to {highest}: a codebook of {codebook_size} has 0 to {codebook_size - 1}"
        )
    counts = torch.bincount(indices.flatten(), minlength=codebook_size)
    return CodebookUsage(
        used_share=(counts > 0).double().mean().item(), perplexity=perplexity(counts.double()).item()
    )


def two_best_units(inputs: Tensor, codebook: Tensor) -> Tensor:
    """Nearest and second nearest code of each input, int64 [N, 2]; ties go to the lowest index.

    ``inputs`` is [N, D], ``codebook`` [K, D]. Raises ValueError without inputs, or with fewer than two codes.
    """
    _check_inputs(inputs)
    if codebook.shape[0] < 2:
        raise ValueError(f"codebook_size {codebook.shape[0]}: two best units need at least 2 codes")
    codebook = codebook.double()
    units = []
    for chunk in torch.split(inputs, CHUNK_SIZE):
        squares = relative_distances(chunk.double(), codebook)
        # Two passes of argmin, because topk leaves the order of ties open.
        best = squares.argmin(dim=1, keepdim=True)
        second = squares.scatter_(1, best, math.inf).argmin(dim=1, keepdim=True)
        units.append(torch.cat([best, second], dim=1))
    return torch.cat(units)


def _mean_distance(inputs: Tensor, codebook: Tensor, winners: Tensor) -> float:
    """Mean of ||x - w|| over inputs [N, D] and their winners [N], from the difference: exact near 0."""
    total = torch.zeros((), dtype=torch.float64, device=inputs.device)
    for x, winner in zip(torch.split(inputs, CHUNK_SIZE), torch.split(winners, CHUNK_SIZE), strict=True):
        total += (x.double() - codebook[winner].double()).square().sum(1).sqrt().sum()
    return total.item() / len(inputs)


def _share_apart(units: Tensor, grid: Grid, *, connectivity: Connectivity) -> float:
    """Share of the pairs of units [N, 2] that are not adjacent."""
    first, second = units.unbind(1)
    adjacent = grid.adjacency(connectivity=connectivity).to(units.device)
    return (~adjacent[first, second]).double().mean().item()


def _check_inputs(inputs: Tensor) -> None:
    if inputs.shape[0] == 0:
        raise ValueError("0 inputs: a mean over inputs needs at least 1")
