"""Topographic product and U-matrix against literal loops written from their definitions."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import pytest
import torch
from torch import Tensor

from kohonen_tokenizer.training.grid import Grid, HexagonalGrid, ToroidalGrid
from kohonen_tokenizer.training.map_order import code_distances, topographic_product, u_matrix


def literal_topographic_product(d_v: list[list[float]], d_a: list[list[float]]) -> float:
    """Bauer & Pawelzik 1992, Eqs. 4 to 11: Q1 and Q2, their product P3 over k neighbors, and its mean log."""
    n = len(d_v)
    total = 0.0
    for j in range(n):
        others = [i for i in range(n) if i != j]
        by_v = sorted(others, key=lambda i: d_v[j][i])
        by_a = sorted(others, key=lambda i: d_a[j][i])
        product = 1.0
        for k in range(1, n):
            q1 = d_v[j][by_a[k - 1]] / d_v[j][by_v[k - 1]]
            q2 = d_a[j][by_a[k - 1]] / d_a[j][by_v[k - 1]]
            product *= q1 * q2
            total += math.log(product ** (1 / (2 * k)))
    return total / (n * (n - 1))


def random_codes(size: int, dim: int, *, seed: int = 0) -> Tensor:
    return torch.randn(size, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_product_without_ties_follows_the_definition() -> None:
    d_v, d_a = code_distances(random_codes(15, 4)), code_distances(random_codes(15, 2, seed=1))
    expected = literal_topographic_product(d_v.tolist(), d_a.tolist())
    assert abs(expected) > 1e-3
    assert topographic_product(d_v, d_a) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("grid", [Grid((3, 4)), ToroidalGrid((3, 4)), HexagonalGrid((3, 4))])
def test_the_product_on_a_grid_is_the_mean_over_random_tie_breaks(grid: Grid) -> None:
    d_v, d_a = code_distances(random_codes(12, 3)), grid.distances()
    generator = torch.Generator().manual_seed(2)
    values = []
    for _ in range(300):
        noise = 1e-9 * torch.rand(12, 12, generator=generator, dtype=torch.float64)
        values.append(literal_topographic_product(d_v.tolist(), (d_a + noise).tolist()))
    actual = topographic_product(d_v, d_a)
    assert actual is not None
    assert stdev(values) > 1e-4
    assert abs(fmean(values) - actual) < 4 * stdev(values) / math.sqrt(len(values))


def test_the_sign_of_the_product_tells_of_too_few_and_too_many_dimensions() -> None:
    plane = Grid((4, 8)).positions()
    line = Grid((32,))
    # A line laid back and forth over the plane, and a plane's grid laid along a line.
    snake = torch.cat([row if y % 2 == 0 else row.flip(0) for y, row in enumerate(plane.view(4, 8, 2))])
    too_few = topographic_product(code_distances(snake), line.distances())
    too_many = topographic_product(line.distances(), Grid((4, 8)).distances())
    assert too_few is not None
    assert too_few < -0.01
    assert too_many is not None
    assert too_many > 0.01
    assert topographic_product(code_distances(plane), Grid((4, 8)).distances()) == pytest.approx(0)


def test_the_product_of_equal_codes_is_not_defined() -> None:
    codes = random_codes(6, 2)
    codes[4] = codes[1]
    assert topographic_product(code_distances(codes), Grid((2, 3)).distances()) is None


@pytest.mark.parametrize(("grid", "reach"), [(ToroidalGrid((3, 4)), 1.5), (HexagonalGrid((3, 4)), 1.1)])
def test_u_matrix_of_other_topologies_follows_the_definition(grid: Grid, reach: float) -> None:
    codebook, distances = random_codes(12, 3), grid.distances().tolist()
    codes = codebook.tolist()
    expected = [
        fmean(math.dist(codes[i], codes[j]) for j in range(12) if 0 < distances[i][j] < reach)
        for i in range(12)
    ]
    assert u_matrix(codebook, grid).tolist() == pytest.approx(expected, rel=1e-12)
