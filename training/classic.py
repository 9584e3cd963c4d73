"""Kohonen's map in its classical forms (section 2 of Irie et al. 2023): small, literal, dtype agnostic.

The learning rules that the deep version in :mod:`.quantizer` grows from, and its oracles in the tests. They
compare every input with every code literally, so they are for small problems.

K: number of codes. D: dimensions of a code. T: number of inputs. A: neighborhood matrix [K, K], where
A[i, j] is the strength with which winner i moves code j. Each function returns a new codebook.
"""

from __future__ import annotations

import torch
from torch import Tensor


def best_matching_units(inputs: Tensor, codebook: Tensor) -> Tensor:
    """Index of the code nearest to each input in Euclidean distance, int64 [T]. Eq. 1.

    ``inputs`` is [T, D] and ``codebook`` [K, D]. Of equally near codes the lowest index wins.
    """
    return (inputs[:, None] - codebook).square().sum(-1).argmin(dim=1)


def online_step(codebook: Tensor, x: Tensor, *, neighborhood: Tensor, learning_rate: float) -> Tensor:
    """The codebook [K, D] after one input x [D]. Eqs. 1-2.

    Each code moves towards x by the share ``learning_rate`` * A[winner, k] of its own way there.
    """
    winner = best_matching_units(x[None], codebook)[0]
    return codebook + learning_rate * neighborhood[winner, :, None] * (x - codebook)


def hardmax(scores: Tensor) -> Tensor:
    """One-hot vector [K] of the largest of the scores [K]; of equal ones, the lowest index."""
    one_hot = torch.zeros_like(scores)
    one_hot[scores.argmax()] = 1
    return one_hot


def dot_product_step(codebook: Tensor, x: Tensor, *, neighborhood: Tensor, learning_rate: float) -> Tensor:
    """The codebook [K, D] after one input x [D], matched by dot product, in Hebbian form. Eqs. 6-7.

    As printed, and so unlike Eq. 2 in two ways: the forgetting term is the winner's weights W^T y for every
    code, not the code's own, so that all codes move in parallel; and code k moves with strength
    A[k, winner], which differs from A[winner, k] where A is not symmetric.
    """
    y = hardmax(codebook @ x)
    return codebook + torch.outer(learning_rate * neighborhood @ y, x - codebook.T @ y)


def batch_step(codebook: Tensor, inputs: Tensor, *, neighborhood: Tensor) -> Tensor:
    """The codebook [K, D] after one pass over all inputs [T, D]. Eqs. 8-10.

    Each code becomes the mean of the inputs, weighted by the neighborhood of their winners. With the identity
    as neighborhood this is one iteration of Lloyd's K-means (Remark 2.1). Eq. 10 divides by zero for a code
    whose weighted count is 0: it keeps its weights here.
    """
    winners = best_matching_units(inputs, codebook)
    counts = torch.bincount(winners, minlength=codebook.shape[0]).to(codebook.dtype)
    sums = torch.zeros_like(codebook).index_add_(0, winners, inputs)
    weighted_sums = neighborhood.T @ sums
    weighted_counts = (neighborhood.T @ counts)[:, None]
    return torch.where(weighted_counts > 0, weighted_sums / weighted_counts, codebook)
