"""The classical forms against literal loops written from the paper's section 2, MiniSom and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from minisom import MiniSom
from sklearn.cluster import KMeans
from torch import Tensor

from kohonen_tokenizer.training.classic import (
    batch_step,
    best_matching_units,
    dot_product_step,
    hardmax,
    online_step,
)
from kohonen_tokenizer.training.grid import Grid
from kohonen_tokenizer.training.neighborhood import GaussianNeighborhood, HardNeighborhood

Matrix = list[list[float]]


def random_problem(
    seed: int, *, codes: int = 12, dims: int = 5, inputs: int = 40
) -> tuple[Tensor, Tensor, Tensor]:
    """Codebook [K, D], inputs [T, D] and a neighborhood [K, K] with ones on its diagonal, not symmetric, so
    that a transposed matrix shows."""
    generator = torch.Generator().manual_seed(seed)
    codebook = torch.randn(codes, dims, generator=generator, dtype=torch.float64)
    data = torch.randn(inputs, dims, generator=generator, dtype=torch.float64)
    neighborhood = torch.rand(codes, codes, generator=generator, dtype=torch.float64).fill_diagonal_(1)
    return codebook, data, neighborhood


def equation_1(x: list[float], W: Matrix) -> int:
    """arg min over k of the Euclidean distance."""
    distances = [math.dist(x, w) for w in W]
    return distances.index(min(distances))


def equation_2(x: list[float], W: Matrix, A: Matrix, beta: float) -> Matrix:
    winner = equation_1(x, W)
    return [
        [w + beta * A[winner][k] * (x_d - w) for x_d, w in zip(x, W[k], strict=True)] for k in range(len(W))
    ]


def equation_7(x: list[float], W: Matrix, A: Matrix, beta: float) -> Matrix:
    K, D = len(W), len(x)
    scores = [sum(W[k][d] * x[d] for d in range(D)) for k in range(K)]
    y = [1.0 if k == scores.index(max(scores)) else 0.0 for k in range(K)]
    Ay = [sum(A[k][j] * y[j] for j in range(K)) for k in range(K)]
    Wy = [sum(W[k][d] * y[k] for k in range(K)) for d in range(D)]
    return [[W[k][d] + beta * Ay[k] * (x[d] - Wy[d]) for d in range(D)] for k in range(K)]


def equation_10(inputs: Matrix, W: Matrix, A: Matrix) -> Matrix:
    K, D = len(W), len(W[0])
    members: list[list[int]] = [[] for _ in range(K)]
    for i, x in enumerate(inputs):
        members[equation_1(x, W)].append(i)
    new = []
    for k in range(K):
        m = [sum(A[j][k] * sum(inputs[i][d] for i in members[j]) for j in range(K)) for d in range(D)]
        N = sum(A[j][k] * len(members[j]) for j in range(K))
        new.append([m_d / N for m_d in m] if N > 0 else W[k])
    return new


def test_best_matching_units_follow_equation_1() -> None:
    codebook, inputs, _ = random_problem(0)
    expected = [equation_1(x, codebook.tolist()) for x in inputs.tolist()]
    assert best_matching_units(inputs, codebook).tolist() == expected
    assert len(set(expected)) > 3


def test_the_lowest_of_equally_near_codes_wins() -> None:
    codebook = torch.tensor([[9.0], [1.0], [-1.0], [1.0]])
    assert best_matching_units(torch.tensor([[0.0], [2.0], [-3.0]]), codebook).tolist() == [1, 1, 2]
    assert hardmax(torch.tensor([0.5, 2.0, 2.0])).tolist() == [0, 1, 0]


@pytest.mark.parametrize("seed", range(3))
def test_online_step_follows_equation_2(seed: int) -> None:
    codebook, inputs, neighborhood = random_problem(seed)
    literal = codebook.tolist()
    for x in inputs:
        codebook = online_step(codebook, x, neighborhood=neighborhood, learning_rate=0.3)
        literal = equation_2(x.tolist(), literal, neighborhood.tolist(), 0.3)
    torch.testing.assert_close(codebook, torch.tensor(literal, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_dot_product_step_follows_equations_6_and_7(seed: int) -> None:
    codebook, inputs, neighborhood = random_problem(seed)
    literal = codebook.tolist()
    for x in inputs[:10]:
        codebook = dot_product_step(codebook, x, neighborhood=neighborhood, learning_rate=0.1)
        literal = equation_7(x.tolist(), literal, neighborhood.tolist(), 0.1)
    torch.testing.assert_close(codebook, torch.tensor(literal, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_without_neighborhood_the_two_online_rules_agree_on_codes_of_one_length() -> None:
    """For codes on the unit sphere the largest dot product is the smallest distance, and for the winner,
    which alone moves, the forgetting terms of Eqs. 2 and 7 are the same. With a neighborhood they are not."""
    codebook, inputs, neighborhood = random_problem(1)
    codebook = torch.nn.functional.normalize(codebook, dim=1)
    identity = torch.eye(len(codebook), dtype=torch.float64)
    for x in inputs:
        by_distance = online_step(codebook, x, neighborhood=identity, learning_rate=0.3)
        by_product = dot_product_step(codebook, x, neighborhood=identity, learning_rate=0.3)
        torch.testing.assert_close(by_distance, by_product, rtol=1e-12, atol=1e-12)
    by_distance = online_step(codebook, inputs[0], neighborhood=neighborhood, learning_rate=0.3)
    by_product = dot_product_step(codebook, inputs[0], neighborhood=neighborhood, learning_rate=0.3)
    assert not torch.allclose(by_distance, by_product)


@pytest.mark.parametrize("seed", range(3))
def test_batch_step_follows_equations_8_to_10(seed: int) -> None:
    codebook, inputs, neighborhood = random_problem(seed)
    expected = equation_10(inputs.tolist(), codebook.tolist(), neighborhood.tolist())
    actual = batch_step(codebook, inputs, neighborhood=neighborhood)
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_a_code_that_no_input_reaches_keeps_its_weights() -> None:
    codebook = torch.tensor([[0.0], [100.0], [200.0], [300.0]], dtype=torch.float64)
    inputs = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    line = HardNeighborhood(shrink_step=0.1).matrix(Grid((4,)).distances(), torch.tensor(0))
    updated = batch_step(codebook, inputs, neighborhood=line)
    assert updated.tolist() == [[2.0], [2.0], [200.0], [300.0]]


def test_batch_step_without_neighborhood_is_one_iteration_of_k_means() -> None:
    codebook, inputs, _ = random_problem(5, codes=6, inputs=400)
    winners = best_matching_units(inputs, codebook)
    assert winners.unique().numel() == 6  # scikit-learn moves empty clusters elsewhere
    k_means = KMeans(n_clusters=6, init=codebook.numpy(), n_init=1, max_iter=1, algorithm="lloyd", tol=0)
    expected = torch.from_numpy(k_means.fit(inputs.numpy()).cluster_centers_)
    actual = batch_step(codebook, inputs, neighborhood=torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kernel", ["bubble", "gaussian"])
def test_online_step_equals_minisom(kernel: str) -> None:
    """MiniSom at t = 0: its bubble of sigma 2 is |dx| < 2 and |dy| < 2, the hard neighborhood; its Gaussian
    is exp(-d^2 / (2 sigma^2)), Eq. 5 for sigma = 1/sqrt(2)."""
    rows, columns, dims = 4, 6, 3
    grid = Grid((rows, columns))
    ours = HardNeighborhood(shrink_step=0.1) if kernel == "bubble" else GaussianNeighborhood(shrink_step=0.1)
    neighborhood = ours.matrix(grid.distances(), torch.tensor(0))
    sigma = 2 if kernel == "bubble" else math.sqrt(0.5)
    som = MiniSom(
        rows, columns, dims, sigma=sigma, learning_rate=0.4, neighborhood_function=kernel, random_seed=0
    )
    codebook = torch.from_numpy(som.get_weights().reshape(-1, dims).copy())
    for x in np.random.default_rng(0).normal(size=(20, dims)):
        som.update(x, som.winner(x), 0, 100)
        codebook = online_step(codebook, torch.from_numpy(x), neighborhood=neighborhood, learning_rate=0.4)
    expected = torch.from_numpy(som.get_weights().reshape(-1, dims))
    torch.testing.assert_close(codebook, expected, rtol=1e-12, atol=1e-12)


def test_steps_leave_their_arguments_alone_and_keep_the_dtype() -> None:
    codebook, inputs, neighborhood = (tensor.float() for tensor in random_problem(2))
    before = codebook.clone()
    for updated in (
        online_step(codebook, inputs[0], neighborhood=neighborhood, learning_rate=0.5),
        dot_product_step(codebook, inputs[0], neighborhood=neighborhood, learning_rate=0.5),
        batch_step(codebook, inputs, neighborhood=neighborhood),
    ):
        assert updated.dtype == torch.float32
        assert not torch.equal(updated, before)
        assert torch.equal(codebook, before)
