"""Soft targets: weights over codes around a token, for training that knows which tokens are alike.

K codebook_size, M neighbors; ... is the shape of the tokens, [N] or [B, h, w].

The weight of code j for token i is a Gaussian of their distance on the map, made to sum to 1 over the codes:

    weights[i, j] = exp(-d^2 / (2 sigma^2)) / sum over j' of the same,    d = ||G(i) - G(j)||.

On a toroidal map d is the distance the shorter way round, on a hexagonal one that of the hexagons' middles.

The numerator is the Gaussian neighborhood, Eq. 5 of Irie et al. 2023: A[i, j] = exp(-d^2 / sigma(t)^2), with
sigma(t) = sqrt(2) sigma: the paper's sigma has no 2 beside it, so that its neighborhood before any shrinking,
sigma(0) = 1, is sigma = 0.707 here. The paper scales updates of the codebook by A and does not normalize it.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError
from .chunks import chunks
from .map_geometry import MapGeometry
from .neighbor_table import NeighborSearch

DenseTargets = npt.NDArray[np.float32]
"""float32 [..., K]: the weight of every code for each token; each row sums to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseTargets:
    """Weights of the codes near each token; all others weigh nothing."""

    tokens: npt.NDArray[np.int32]
    """int32 [..., M + 1]: the token itself, then its neighbors, nearest first; -1 is padding."""
    weights: npt.NDArray[np.float32]
    """float32 [..., M + 1]: each row sums to 1; 0 for padding."""


def dense_targets(tokens: npt.NDArray[np.int64], *, geometry: MapGeometry, sigma: float) -> DenseTargets:
    """Weights float32 [..., K] of every code for `tokens` [...], each 0 to K - 1.

    Args:
        tokens: int64 of any shape.
        geometry: the map.
        sigma: standard deviation of the Gaussian, in steps of the map: over 0.

    Raises:
        ParameterError: sigma outside its limits.
    """
    _check_sigma(sigma)
    rows, everyone = tokens.ravel(), np.arange(len(geometry.places))
    targets = np.empty((len(rows), len(everyone)), dtype=np.float32)
    for chunk in chunks(len(rows), values_each=geometry.places.size):
        targets[chunk] = _weights(geometry.distances(rows[chunk, np.newaxis], everyone), sigma=sigma)
    return targets.reshape(*tokens.shape, len(everyone))


def sparse_targets(tokens: npt.NDArray[np.int64], *, search: NeighborSearch, sigma: float) -> SparseTargets:
    """Weights of `tokens` [...], each 0 to K - 1, themselves and of the neighbors that `search` finds.

    The Gaussian is cut off there: what the left-out codes would weigh is shared by the others in proportion.

    Args:
        tokens: int64 of any shape.
        search: which neighbors; one on the map.
        sigma: standard deviation of the Gaussian, in steps of the map: over 0.

    Raises:
        ParameterError: sigma outside its limits.
    """
    _check_sigma(sigma)
    # A token that comes often is searched once.
    distinct, inverse = np.unique(tokens, return_inverse=True)
    table = search.find(distinct)
    near = np.concatenate([distinct[:, np.newaxis].astype(np.int32), table.tokens], axis=1)
    distances = np.concatenate([np.zeros((len(distinct), 1)), table.grid_distance], axis=1)
    weights = _weights(distances, sigma=sigma).astype(np.float32)
    return SparseTargets(tokens=near[inverse], weights=weights[inverse])


def _check_sigma(sigma: float) -> None:
    if not math.isfinite(sigma) or sigma <= 0:
        raise ParameterError(
            f"sigma is {sigma}; it must be a number over 0, in steps of the map (for 1-hot use the tokens)"
        )


def _weights(distances: npt.NDArray[np.float64], *, sigma: float) -> npt.NDArray[np.float64]:
    """The Gaussian of `distances` [N, M], each row made to sum to 1; an infinite distance weighs 0.

    A row always has the distance 0 of the token itself, so its sum is at least 1.
    """
    # A distance that is very many sigmas overflows to infinity, whose weight of 0 is right.
    with np.errstate(over="ignore"):
        weights = np.exp(-np.square(distances / sigma) / 2)
    normalized: npt.NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalized
