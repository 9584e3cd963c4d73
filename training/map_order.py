"""How well the order of a map follows that of its codebook: measures that need no inputs.

A map has two distances between its units: on the grid (``Grid.distances``) and between codes
(``code_distances``). Most measures here take both as matrices, so that they hold for a map of any topology.
Definitions differ between libraries, so each docstring says which one it follows. All compute in float64.

K: number of codes (units). D: dimensions of a code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .grid import Grid


def code_distances(codebook: Tensor) -> Tensor:
    """Euclidean distances between codes [K, D], float64 [K, K], from differences: ties stay exact."""
    points = codebook.double()
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")


def trustworthiness(data_distances: Tensor, map_distances: Tensor, *, num_neighbors: int) -> float:
    """Trustworthiness of the map as an embedding of its codebook, up to 1 (Venna & Kaski 2001).

    Both arguments are [K, K]: distances between codes, and on the grid. Units that are among the
    ``num_neighbors`` nearest of a unit on the map, but not in the codebook, cost their excess rank. With the
    two arguments exchanged it is the neighborhood preservation (continuity): neighbors in the codebook that
    the map tears apart.

    A grid is full of equal distances. As in Kaski et al. 2003, all rank orders compatible with them count as
    equally likely and the expectation over them is returned, exactly: it prefers no direction of the map.
    Without ties it equals ``sklearn.manifold.trustworthiness``, which breaks ties by the order in which its
    search and sort happen to leave them. Raises ValueError unless ``num_neighbors`` is in [1, K/2).
    """
    num_units = len(data_distances)
    if not 1 <= num_neighbors < num_units / 2:
        raise ValueError(
            f"num_neighbors {num_neighbors}: must be at least 1 and under half of the map's {num_units} units"
        )
    nearer, tied = _rank_ranges(map_distances)
    probability = ((num_neighbors - nearer) / tied).clamp(0, 1)  # of being among the nearest on the map
    nearer, tied = _rank_ranges(data_distances)
    # The rank is uniform on nearer + 1 ... nearer + tied; the mean of its positive excess over num_neighbors:
    first, last = nearer - num_neighbors, nearer + tied - num_neighbors
    excess = (_triangular(last) - _triangular(first)) / tied
    worst = num_units * num_neighbors * (2 * num_units - 3 * num_neighbors - 1) / 2
    return 1 - (probability * excess).sum().item() / worst


def topographic_product(data_distances: Tensor, map_distances: Tensor) -> float | None:
    """The topographic product P of Bauer & Pawelzik 1992: 0 where map and codebook order neighbors alike.

    Under 0 the map has too few dimensions for its codebook, over 0 too many. Both arguments are [K, K], K at
    least 2: distances between codes, and on the grid. With d_V and d_A for them and n_V(l), n_A(l) for the
    l-th nearest of unit j by each, P is the mean over j and k = 1 ... K - 1 of

        1 / (2 k) sum over l = 1 ... k of log [Q1 Q2],
        Q1 = d_V(j, n_A(l)) / d_V(j, n_V(l)),    Q2 = d_A(j, n_A(l)) / d_A(j, n_V(l)).

    As in ``trustworthiness``, equal distances leave the order open, and the expectation over all orders is
    returned. None where two codes are equal, for which P is not defined.
    """
    num_units = len(data_distances)
    others = ~torch.eye(num_units, dtype=torch.bool, device=data_distances.device)
    if (data_distances[others] == 0).any():
        return None
    # The logarithms of rank l stand in the sums of all k from l on: their weight is the sum of 1 / (2 k).
    k = torch.arange(1, num_units, dtype=torch.float64, device=data_distances.device)
    weights = (1 / (2 * k)).flip(0).cumsum(0).flip(0)
    on_map = _mean_over_ranks(weights, map_distances)
    in_codebook = _mean_over_ranks(weights, data_distances)
    logarithms = (data_distances * map_distances).log()
    total = ((on_map - in_codebook) * logarithms)[others].sum().item()
    return total / (num_units * (num_units - 1))


def u_matrix(codebook: Tensor, grid: Grid) -> Tensor:
    """U-matrix (Ultsch & Siemon 1990): a unit's mean codebook distance to its grid neighbors, float64 [K].

    ``codebook`` is [K, D]; reshape the result to (rows, columns) for a picture. Neighbors are the up to eight
    around, or six on a hexagonal map. It is MiniSom's ``distance_map(scaling="mean")`` before the division by
    its maximum. NaN for the only unit of a map of one.
    """
    adjacent = grid.adjacency(connectivity=8).to(codebook.device)
    return (code_distances(codebook) * adjacent).sum(dim=1) / adjacent.sum(dim=1)


def _rank_ranges(distances: Tensor) -> tuple[Tensor, Tensor]:
    """At (i, j): how many points are nearer to i than j is, and how many as near, j included; float64."""
    distances = distances.double().clone().fill_diagonal_(math.inf)
    ascending = distances.sort(dim=1).values
    nearer = torch.searchsorted(ascending, distances).double()
    return nearer, torch.searchsorted(ascending, distances, right=True) - nearer


def _mean_over_ranks(weights: Tensor, distances: Tensor) -> Tensor:
    """At (i, j): the mean of ``weights`` [K - 1] over the ranks that j may have among the nearest of i."""
    nearer, tied = _rank_ranges(distances)
    # The diagonal is infinitely far and has rank K; the weight 0 keeps it in range.
    sums = torch.cat([weights.new_zeros(1), weights.cumsum(0), weights.sum()[None]])
    return (sums[(nearer + tied).long()] - sums[nearer.long()]) / tied


def _triangular(n: Tensor) -> Tensor:
    """1 + 2 + ... + n, elementwise; 0 for n under 1."""
    n = n.clamp(min=0)
    return n * (n + 1) / 2
