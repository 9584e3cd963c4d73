"""Trustworthiness and neighborhood preservation against scikit-learn and an enumeration of the definition."""

from __future__ import annotations

import itertools
import math
from statistics import fmean, stdev

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from torch import Tensor

from kohonen_tokenizer.training.grid import Grid
from kohonen_tokenizer.training.map_order import code_distances
from kohonen_tokenizer.training.map_order import trustworthiness as trustworthiness_of_distances

# Neighborhood preservation is trustworthiness with its two arguments exchanged.
both_measures = pytest.mark.parametrize("exchanged", [False, True], ids=["trustworthiness", "preservation"])


def trustworthiness(high: Tensor, low: Tensor, *, num_neighbors: int) -> float:
    """Of points, as scikit-learn takes them."""
    return trustworthiness_of_distances(
        code_distances(high), code_distances(low), num_neighbors=num_neighbors
    )


@pytest.fixture
def plane() -> tuple[Tensor, Tensor]:
    """Codebook [48, 7] and coordinates [48, 2] of a 6 by 8 map that is bent, stretched and noisy."""
    generator = torch.Generator().manual_seed(0)
    coordinates = Grid((6, 8)).coordinates()
    codebook = torch.sin(coordinates / 3 @ torch.randn(2, 7, generator=generator))
    return codebook + 0.2 * torch.randn(48, 7, generator=generator), coordinates


@pytest.mark.parametrize("num_neighbors", [1, 5, 14])
@both_measures
def test_without_ties_it_equals_scikit_learns(num_neighbors: int, exchanged: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(30, 6, generator=generator)
    positions = points[:, :2] + torch.randn(30, 2, generator=generator)
    high, low = (positions, points) if exchanged else (points, positions)
    expected = sklearn_trustworthiness(high.numpy(), low.numpy(), n_neighbors=num_neighbors)
    assert trustworthiness(high, low, num_neighbors=num_neighbors) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("num_neighbors", [2, 4, 6])
def test_on_a_line_it_equals_scikit_learns(num_neighbors: int) -> None:
    """The k nearest units of a line are a definite set for every even k, whatever the rule for ties."""
    codebook = torch.randn(40, 5, generator=torch.Generator().manual_seed(2)).cumsum(0)
    coordinates = Grid((40,)).coordinates()
    expected = sklearn_trustworthiness(codebook.numpy(), coordinates.numpy(), n_neighbors=num_neighbors)
    actual = trustworthiness(codebook, coordinates, num_neighbors=num_neighbors)
    assert 0.5 < expected < 1
    assert actual == pytest.approx(expected, abs=1e-12)


def literal_orders(points: list[list[float]], i: int) -> list[tuple[int, ...]]:
    """Every order of the other points that agrees with their distances from point i."""
    others = [j for j in range(len(points)) if j != i]
    orders = []
    for order in itertools.permutations(others):
        distances = [math.dist(points[i], points[j]) for j in order]
        if distances == sorted(distances):
            orders.append(order)
    return orders


@both_measures
def test_it_is_the_mean_over_all_orders_that_ties_leave_open(exchanged: bool) -> None:
    """The definition of Venna & Kaski, enumerated on a 2 by 3 map whose codes are tied as well."""
    codes = [[0.0, 0.0], [1.0, 0.0], [1.0, 2.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
    positions = Grid((2, 3)).coordinates().double().tolist()
    high, low = (positions, codes) if exchanged else (codes, positions)
    n, k = 6, 2
    excess = 0.0
    for i in range(n):
        ranks = [{j: r for r, j in enumerate(order, start=1)} for order in literal_orders(high, i)]
        neighbors = [order[:k] for order in literal_orders(low, i)]
        assert len(ranks) > 1
        excess += fmean(sum(max(0, rank[j] - k) for j in near) for rank in ranks for near in neighbors)
    expected = 1 - excess * 2 / (n * k * (2 * n - 3 * k - 1))
    actual = trustworthiness(torch.tensor(high), torch.tensor(low), num_neighbors=k)
    assert 0 < expected < 1
    assert actual == pytest.approx(expected, abs=1e-12)


@both_measures
def test_on_a_grid_it_is_the_mean_of_scikit_learns_over_random_tie_breaks(
    plane: tuple[Tensor, Tensor], exchanged: bool
) -> None:
    """Positions moved by a hair have no ties, and each move breaks them in another way."""
    codebook, coordinates = (tensor.numpy() for tensor in plane)
    rng = np.random.default_rng(0)
    values = []
    for _ in range(200):
        moved = coordinates + rng.normal(scale=1e-6, size=coordinates.shape)
        high, low = (moved, codebook) if exchanged else (codebook, moved)
        values.append(sklearn_trustworthiness(high, low, n_neighbors=5))
    ours = plane[::-1] if exchanged else plane
    actual = trustworthiness(*ours, num_neighbors=5)
    assert stdev(values) > 1e-4
    assert abs(fmean(values) - actual) < 4 * stdev(values) / math.sqrt(len(values))


def test_it_does_not_depend_on_the_maps_orientation(plane: tuple[Tensor, Tensor]) -> None:
    codebook, coordinates = plane
    value = trustworthiness(codebook, coordinates, num_neighbors=5)
    for turned in (-coordinates, coordinates.flip(1)):
        assert trustworthiness(codebook, turned, num_neighbors=5) == pytest.approx(value, abs=1e-12)


def test_a_scaled_copy_has_1_and_a_random_order_far_less() -> None:
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(48, 2, generator=generator)
    shuffled = positions[torch.randperm(48, generator=generator)]
    assert trustworthiness(3 * positions, positions, num_neighbors=5) == 1
    assert trustworthiness(positions, shuffled, num_neighbors=5) < 0.7


@pytest.mark.parametrize("num_neighbors", [0, 24])
def test_a_number_of_neighbors_out_of_range_is_refused(
    plane: tuple[Tensor, Tensor], num_neighbors: int
) -> None:
    with pytest.raises(ValueError, match=f"num_neighbors {num_neighbors}: .* half of the map's 48 units"):
        trustworthiness(*plane, num_neighbors=num_neighbors)
