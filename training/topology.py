"""Quality measures of a map: how well its codes quantize, and how well its order follows theirs.

Definitions of these measures differ between libraries, so each docstring says which one it follows. All of
them compute in float64: on a smooth codebook, as a Kohonen map makes it, reduced precision picks other codes.
Tensors of one call lie on one device, and inputs, codebooks and neighborhoods may have any float dtype.

N: number of inputs. K: number of codes (units). D: dimensions of a code. G: dimensions of the map, 1 or 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .quantizer import perplexity, relative_distances

Connectivity = Literal[4, 8]

# Inputs searched at once: with 512 codes a chunk's distances take 32 MiB.
CHUNK_SIZE = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class MapQuality:
    """The measures that need the inputs, from one search, with their nulls beside them."""

    quantization_error: float
    """Mean distance from an input to its best unit, in units of the inputs."""
    topographic_error_8: float
    """Share of inputs whose two best units are not among each other's eight neighbors."""
    topographic_error_8_null: float
    """What ``topographic_error_8`` would be on average if the codes lay on the map in random order."""
    topographic_error_4: float
    """Share of inputs whose two best units are not among each other's four neighbors."""
    topographic_error_4_null: float
    """What ``topographic_error_4`` would be on average if the codes lay on the map in random order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CodebookUsage:
    """How much of a codebook a set of tokens uses."""

    used_share: float
    """Share of the codes that occur at least once, over 0 and up to 1."""
    perplexity: float
    """exp(-sum p log p), from 1 (one code) to K (all alike); the paper's B.1 lacks the minus sign."""


def map_quality(inputs: Tensor, codebook: Tensor, coordinates: Tensor) -> MapQuality:
    """Quantization error and both topographic errors, from a single search.

    ``inputs`` is [N, D], ``codebook`` [K, D], ``coordinates`` integers [K, G]. Each field is the function of
    its name. Raises ValueError without inputs, or with fewer than two codes.
    """
    units = two_best_units(inputs, codebook)
    return MapQuality(
        quantization_error=_mean_distance(inputs, codebook, units[:, 0]),
        topographic_error_8=_share_apart(units, coordinates, connectivity=8),
        topographic_error_8_null=topographic_error_null(coordinates, connectivity=8),
        topographic_error_4=_share_apart(units, coordinates, connectivity=4),
        topographic_error_4_null=topographic_error_null(coordinates, connectivity=4),
    )


def quantization_error(inputs: Tensor, codebook: Tensor) -> float:
    """Mean of ||x - w_best|| over inputs [N, D], w_best the nearest of [K, D]: not squared, as in MiniSom.

    Raises ValueError without inputs, or with fewer than two codes.
    """
    return _mean_distance(inputs, codebook, two_best_units(inputs, codebook)[:, 0])


def topographic_error(
    inputs: Tensor, codebook: Tensor, coordinates: Tensor, *, connectivity: Connectivity
) -> float:
    """Share of inputs [N, D] whose two best units are not adjacent on the map (Kiviluoto 1996).

    ``codebook`` is [K, D], ``coordinates`` integers [K, G]. Adjacent means Chebyshev distance 1 with
    ``connectivity`` 8, which is MiniSom's rule, and Manhattan distance 1 with 4; on a line both are
    |dx| = 1. Read it beside :func:`topographic_error_null`. Raises ValueError as :func:`map_quality` does.
    """
    return _share_apart(two_best_units(inputs, codebook), coordinates, connectivity=connectivity)


def topographic_error_null(coordinates: Tensor, *, connectivity: Connectivity) -> float:
    """Exact expectation of the topographic error when the codes are put on the map in random order.

    Under a uniform permutation any two codes fall on a uniform pair of units, adjacent with probability
    (mean number of adjacent units) / (K - 1), whatever the inputs. ``coordinates`` is [K, G]. The expectation
    is 1 - 7.445 / 511 = 0.985 for a 16 by 32 map with ``connectivity`` 8.
    """
    num_units = coordinates.shape[0]
    if num_units < 2:
        raise ValueError(f"map of size {num_units}: a topographic error needs at least 2 units")
    num_adjacent = _adjacency(coordinates, connectivity=connectivity).sum().item()
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


def trustworthiness(codebook: Tensor, coordinates: Tensor, *, num_neighbors: int) -> float:
    """Trustworthiness of the map as an embedding of its codebook, up to 1 (Venna & Kaski 2001).

    ``codebook`` is [K, D], ``coordinates`` [K, G]. Units that are among the ``num_neighbors`` nearest of a
    unit on the map, but not in the codebook, cost their excess rank. With the two arguments exchanged it is
    the neighborhood preservation (continuity): neighbors in the codebook that the map tears apart.

    A grid is full of equal distances. As in Kaski et al. 2003, all rank orders compatible with them count as
    equally likely and the expectation over them is returned, exactly: it prefers no direction of the map.
    Without ties it equals ``sklearn.manifold.trustworthiness``, which breaks ties by the order in which its
    search and sort happen to leave them. Raises ValueError unless ``num_neighbors`` is in [1, K/2).
    """
    num_units = codebook.shape[0]
    if not 1 <= num_neighbors < num_units / 2:
        raise ValueError(
            f"num_neighbors {num_neighbors}: must be at least 1 and under half of the map's {num_units} units"
        )
    nearer, tied = _rank_ranges(coordinates)
    probability = ((num_neighbors - nearer) / tied).clamp(0, 1)  # of being among the nearest on the map
    nearer, tied = _rank_ranges(codebook)
    # The rank is uniform on nearer + 1 ... nearer + tied; the mean of its positive excess over num_neighbors:
    first, last = nearer - num_neighbors, nearer + tied - num_neighbors
    excess = (_triangular(last) - _triangular(first)) / tied
    worst = num_units * num_neighbors * (2 * num_units - 3 * num_neighbors - 1) / 2
    return 1 - (probability * excess).sum().item() / worst


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


def u_matrix(codebook: Tensor, coordinates: Tensor) -> Tensor:
    """U-matrix (Ultsch & Siemon 1990): a unit's mean codebook distance to its grid neighbors, float64 [K].

    ``codebook`` is [K, D], ``coordinates`` integers [K, G]; reshape the result to (rows, columns) for a
    picture. Neighbors are the up to eight around. It is MiniSom's ``distance_map(scaling="mean")`` before the
    division by its maximum. NaN for the only unit of a map of one.
    """
    adjacent = _adjacency(coordinates, connectivity=8)
    return (_distances(codebook) * adjacent).sum(dim=1) / adjacent.sum(dim=1)


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


def _share_apart(units: Tensor, coordinates: Tensor, *, connectivity: Connectivity) -> float:
    """Share of the pairs of units [N, 2] that are not adjacent."""
    first, second = coordinates[units].unbind(1)
    return (~_adjacent(first, second, connectivity=connectivity)).double().mean().item()


def _adjacency(coordinates: Tensor, *, connectivity: Connectivity) -> Tensor:
    """Which units of coordinates [K, G] are adjacent, bool [K, K]."""
    return _adjacent(coordinates[:, None], coordinates, connectivity=connectivity)


def _adjacent(first: Tensor, second: Tensor, *, connectivity: Connectivity) -> Tensor:
    """Whether integer coordinates [..., G] are those of neighbors on the grid, bool [...]."""
    steps = (first - second).abs()
    if connectivity == 8:
        return steps.amax(-1) == 1
    if connectivity == 4:
        return steps.sum(-1) == 1
    raise ValueError(f"connectivity {connectivity}: use 8 or 4")


def _distances(points: Tensor) -> Tensor:
    """Euclidean distances between points [K, P], float64 [K, K], from differences: ties stay exact."""
    points = points.double()
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")


def _rank_ranges(points: Tensor) -> tuple[Tensor, Tensor]:
    """At (i, j): how many points are nearer to i than j is, and how many as near, j included; float64."""
    distances = _distances(points).fill_diagonal_(math.inf)
    ascending = distances.sort(dim=1).values
    nearer = torch.searchsorted(ascending, distances).double()
    return nearer, torch.searchsorted(ascending, distances, right=True) - nearer


def _triangular(n: Tensor) -> Tensor:
    """1 + 2 + ... + n, elementwise; 0 for n under 1."""
    n = n.clamp(min=0)
    return n * (n + 1) / 2


def _check_inputs(inputs: Tensor) -> None:
    if inputs.shape[0] == 0:
        raise ValueError("0 inputs: a mean over inputs needs at least 1")
