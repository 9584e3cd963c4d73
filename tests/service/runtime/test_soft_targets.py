"""Soft targets against their equation, in float64 loops."""

import math
from typing import Any

import numpy as np
import pytest

from kohonen_tokenizer.service.errors import ParameterError, TokenRangeError, TokensError
from kohonen_tokenizer.service.runtime import chunks
from kohonen_tokenizer.service.runtime.map_layout import map_coordinates
from kohonen_tokenizer.service.runtime.topology import Topology

MAP_SHAPES = [(3, 4), (6, 1), (7,), (1,)]


def make_topology(map_shape: tuple[int, ...]) -> Topology:
    vectors = np.random.default_rng(0).normal(size=(math.prod(map_shape), 2)).astype(np.float32)
    return Topology(map_coordinates(map_shape), vectors=vectors)


def literal_targets(map_shape: tuple[int, ...], sigma: float, kept: Any = None) -> np.ndarray:
    """Weights float64 [K, K] by the equation; those outside `kept`, sets of tokens, are left out."""
    columns, num_tokens = map_shape[-1], math.prod(map_shape)
    targets = np.zeros((num_tokens, num_tokens))
    for i in range(num_tokens):
        for j in range(num_tokens):
            if kept is None or j in kept[i]:
                distance = math.dist(divmod(i, columns), divmod(j, columns))
                targets[i, j] = math.exp(-(distance**2) / (2 * sigma**2))
        targets[i] /= targets[i].sum()
    return targets


def scattered(sparse: Any, num_tokens: int) -> np.ndarray:
    """The sparse targets as dense ones, float64 [N, K]."""
    dense = np.zeros((len(sparse.tokens), num_tokens))
    for row, tokens in enumerate(sparse.tokens.tolist()):
        for column, token in enumerate(tokens):
            if token >= 0:
                dense[row, token] += float(sparse.weights[row, column])
    return dense


@pytest.mark.parametrize("chunk_values", [chunks.CHUNK_VALUES, 17])
@pytest.mark.parametrize("map_shape", MAP_SHAPES)
@pytest.mark.parametrize("sigma", [0.3, 1, 2.5])
def test_dense_targets_are_the_equation(
    map_shape: tuple[int, ...], sigma: float, chunk_values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_VALUES", chunk_values)
    targets = make_topology(map_shape).soft_targets(sigma=sigma)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets, literal_targets(map_shape, sigma), rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)


def test_they_are_the_gaussian_neighborhood_of_the_paper_made_to_sum_to_one() -> None:
    # Eq. 5 at t = 0: A = exp(-d^2), so sigma is 1 / sqrt(2).
    targets = make_topology((3, 4)).soft_targets(sigma=1 / math.sqrt(2))
    neighborhood = np.array(
        [[math.exp(-(math.dist(divmod(i, 4), divmod(j, 4)) ** 2)) for j in range(12)] for i in range(12)]
    )
    np.testing.assert_allclose(targets, neighborhood / neighborhood.sum(axis=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("map_shape", MAP_SHAPES[:-1])
@pytest.mark.parametrize("choice", [{}, {"radius": 0}, {"radius": 2}, {"k": 1}, {"k": 4}])
def test_sparse_targets_are_the_equation_over_the_neighbors(
    map_shape: tuple[int, ...], choice: dict[str, Any]
) -> None:
    topology = make_topology(map_shape)
    num_tokens = math.prod(map_shape)
    kept = [{i, *(n.token for n in topology.neighbors(i, **choice))} for i in range(num_tokens)]
    sparse = topology.sparse_soft_targets(sigma=1.5, **choice)
    assert sparse.tokens.dtype == np.int32
    assert sparse.weights.dtype == np.float32
    assert sparse.tokens[:, 0].tolist() == list(range(num_tokens))
    assert (sparse.weights[sparse.tokens < 0] == 0).all()
    assert (np.diff(sparse.weights, axis=1) <= 0).all()
    expected = literal_targets(map_shape, 1.5, kept)
    np.testing.assert_allclose(scattered(sparse, num_tokens), expected, rtol=1e-6)


def test_all_neighbors_give_the_dense_targets() -> None:
    topology = make_topology((3, 4))
    dense = topology.soft_targets(sigma=2)
    np.testing.assert_allclose(scattered(topology.sparse_soft_targets(sigma=2, k=11), 12), dense, rtol=1e-6)


def test_given_tokens_get_the_rows_of_the_whole_table() -> None:
    topology = make_topology((3, 4))
    tokens = np.array([5, 0, 5, 11], dtype=np.uint16)
    assert np.array_equal(topology.soft_targets(tokens, sigma=1), topology.soft_targets(sigma=1)[tokens])
    some, whole = topology.sparse_soft_targets(tokens, sigma=1), topology.sparse_soft_targets(sigma=1)
    assert np.array_equal(some.tokens, whole.tokens[tokens])
    assert np.array_equal(some.weights, whole.weights[tokens])
    grid = tokens.reshape(2, 2)
    assert np.array_equal(topology.soft_targets(grid, sigma=1)[1, 0], topology.soft_targets(sigma=1)[5])
    assert np.array_equal(topology.sparse_soft_targets(grid, sigma=1).weights, some.weights.reshape(2, 2, 9))
    assert topology.soft_targets(tokens[:0], sigma=1).shape == (0, 12)
    assert topology.sparse_soft_targets(tokens[:0], sigma=1).weights.shape == (0, 9)


@pytest.mark.parametrize("sigma", [5e-324, 1e-200, 1e-3])
def test_a_very_small_sigma_leaves_the_token_alone(sigma: float) -> None:
    assert np.array_equal(make_topology((3, 4)).soft_targets(sigma=sigma), np.eye(12, dtype=np.float32))


def test_a_very_large_sigma_makes_all_codes_equal() -> None:
    np.testing.assert_allclose(make_topology((3, 4)).soft_targets(sigma=1e308), 1 / 12, rtol=1e-6)


@pytest.mark.parametrize("sigma", [0, -1, math.nan, math.inf])
def test_no_such_sigma(sigma: float) -> None:
    topology = make_topology((3, 4))
    with pytest.raises(ParameterError, match=f"sigma is {sigma}; it must be a number over 0"):
        topology.soft_targets(sigma=sigma)
    with pytest.raises(ParameterError, match=f"sigma is {sigma}"):
        topology.sparse_soft_targets(sigma=sigma)


@pytest.mark.parametrize(
    ("tokens", "error", "reason"),
    [
        (np.array([3, 12]), TokenRangeError, r"token 12 at \[1\] is outside 0 to 11"),
        (np.array([2**63], dtype=np.uint64), TokenRangeError, "token 9223372036854775808 at"),
        (np.array([1.0]), TokensError, "tokens are float64; give integers"),
    ],
)
def test_tokens_that_are_none(tokens: np.ndarray, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        make_topology((3, 4)).soft_targets(tokens, sigma=1)
