"""Neighbors against loops written from the definitions, in float64."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest

from kohonen_tokenizer.service.errors import ParameterError, TokenRangeError
from kohonen_tokenizer.service.runtime.map_layout import map_coordinates
from kohonen_tokenizer.service.runtime.topology import Neighbor, Topology

MAP_SHAPES = [(3, 4), (4, 3), (1, 6), (6, 1), (7,), (1,)]


def make_topology(
    map_shape: tuple[int, ...], *, code_dim: int = 3, seed: int = 0
) -> tuple[Topology, np.ndarray]:
    vectors = np.random.default_rng(seed).normal(size=(math.prod(map_shape), code_dim)).astype(np.float32)
    return Topology(map_coordinates(map_shape), vectors=vectors), vectors


def literal_neighbors(map_shape: tuple[int, ...], vectors: np.ndarray, token: int) -> list[Neighbor]:
    """All other tokens with both distances, from k % columns and k // columns."""
    columns = map_shape[-1]

    def place(k: int) -> tuple[int, ...]:
        return (k,) if len(map_shape) == 1 else (k % columns, k // columns)

    found = []
    for other in range(len(vectors)):
        if other == token:
            continue
        squares = 0.0
        for a, b in zip(vectors[token].tolist(), vectors[other].tolist(), strict=True):
            squares += (a - b) ** 2
        found.append(
            Neighbor(
                token=other,
                coordinates=place(other),
                grid_distance=math.dist(place(token), place(other)),
                codebook_distance=math.sqrt(squares),
            )
        )
    return found


def assert_same(actual: list[Neighbor], expected: list[Neighbor]) -> None:
    assert [(n.token, n.coordinates) for n in actual] == [(n.token, n.coordinates) for n in expected]
    assert [n.grid_distance for n in actual] == pytest.approx([n.grid_distance for n in expected], abs=1e-12)
    assert [n.codebook_distance for n in actual] == pytest.approx([n.codebook_distance for n in expected])


@pytest.mark.parametrize("map_shape", MAP_SHAPES)
def test_coordinates(map_shape: tuple[int, ...]) -> None:
    coordinates = map_coordinates(map_shape)
    if len(map_shape) == 1:
        expected = [[k] for k in range(map_shape[0])]
    else:
        expected = [[k % map_shape[1], k // map_shape[1]] for k in range(map_shape[0] * map_shape[1])]
    assert coordinates.tolist() == expected
    assert coordinates.dtype == np.int32
    assert coordinates.flags.c_contiguous


@pytest.mark.parametrize("map_shape", MAP_SHAPES)
@pytest.mark.parametrize("radius", [0, 0.5, 1, 1.5, math.sqrt(2), math.sqrt(5), 2, 100])
def test_within_a_radius(map_shape: tuple[int, ...], radius: float) -> None:
    topology, vectors = make_topology(map_shape)
    for token in range(len(vectors)):
        expected = [n for n in literal_neighbors(map_shape, vectors, token) if n.grid_distance <= radius]
        expected.sort(key=lambda n: (n.grid_distance, n.codebook_distance, n.token))
        assert_same(topology.neighbors(token, radius=radius), expected)


@pytest.mark.parametrize("map_shape", MAP_SHAPES[:-1])
@pytest.mark.parametrize("by", ["map", "codebook"])
def test_the_k_nearest(map_shape: tuple[int, ...], by: Any) -> None:
    topology, vectors = make_topology(map_shape)
    for token, k in product(range(len(vectors)), (1, 3, len(vectors) - 1)):
        expected = literal_neighbors(map_shape, vectors, token)
        if by == "map":
            expected.sort(key=lambda n: (n.grid_distance, n.codebook_distance, n.token))
        else:
            expected.sort(key=lambda n: (n.codebook_distance, n.grid_distance, n.token))
        assert_same(topology.neighbors(token, k=k, by=by), expected[:k])


def test_how_many_are_around() -> None:
    topology, _ = make_topology((5, 5))
    center, edge, corner = 12, 2, 0
    assert [len(topology.neighbors(token)) for token in (center, edge, corner)] == [8, 5, 3]
    assert [len(topology.neighbors(token, radius=1)) for token in (center, edge, corner)] == [4, 3, 2]
    assert topology.neighbors(center, radius=0) == []


def test_the_map_does_not_wrap_around() -> None:
    topology, _ = make_topology((3, 4))
    assert {n.token for n in topology.neighbors(3, radius=1)} == {2, 7}


def test_equal_distances_are_ordered_by_the_other_distance_and_then_by_token() -> None:
    vectors = np.array([[0], [2], [1], [1], [1], [0], [1], [2], [1]], dtype=np.float32)
    topology = Topology(map_coordinates((3, 3)), vectors=vectors)
    # Around the center, 4: at distance 1 the tokens 1, 3, 5, 7 are 1, 0, 1, 1 away in the codebook.
    assert [n.token for n in topology.neighbors(4, radius=1)] == [3, 1, 5, 7]
    # The same vector as the center have 2, 3, 6, 8; on the map 3 is the nearest of them.
    assert [n.token for n in topology.neighbors(4, k=4, by="codebook")] == [3, 2, 6, 8]


def test_a_twin_of_the_token_is_a_neighbor_and_the_token_is_not() -> None:
    topology = Topology(map_coordinates((4,)), vectors=np.zeros((4, 2), dtype=np.float32))
    neighbors = topology.neighbors(2, k=3, by="codebook")
    assert [n.token for n in neighbors] == [1, 3, 0]
    assert [n.codebook_distance for n in neighbors] == [0, 0, 0]


def test_close_vectors_far_from_zero_are_told_apart() -> None:
    # In float32 the squared norms of these would swallow their differences.
    vectors = np.array([[4096], [4096.0005], [4096.001]], dtype=np.float32)
    topology = Topology(map_coordinates((3,)), vectors=vectors)
    distances = [n.codebook_distance for n in topology.neighbors(0, k=2, by="codebook")]
    assert distances == [float(vectors[1, 0]) - 4096, float(vectors[2, 0]) - 4096]
    assert 0 < distances[0] < distances[1]


def test_a_large_codebook_needs_no_table_of_pairs() -> None:
    # 65,536 x 65,536 distances would be 32 GiB.
    topology, _ = make_topology((256, 256), code_dim=2)
    assert {n.token for n in topology.neighbors(65_535)} == {65_534, 65_279, 65_278}


def test_numpy_integers_are_tokens_too() -> None:
    topology, _ = make_topology((3, 4))
    assert topology.neighbors(np.int32(5), k=np.int64(2)) == topology.neighbors(5, k=2)


@pytest.mark.parametrize("token", [-1, 12, 2**70])
def test_no_such_token(token: int) -> None:
    topology, _ = make_topology((3, 4))
    with pytest.raises(TokenRangeError, match=f"token {token} is outside 0 to 11"):
        topology.neighbors(token)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"radius": 1, "k": 1}, "both given"),
        ({"radius": -0.1}, "radius is -0.1; it must be a number of 0 or more"),
        ({"radius": math.nan}, "radius is nan"),
        ({"radius": math.inf}, "radius is inf"),
        ({"k": 0}, "k is 0; it must be 1 to 11"),
        ({"k": -1}, "k is -1"),
        ({"k": 12}, "k is 12; it must be 1 to 11"),
        ({"by": "color"}, "by is 'color'"),
        ({"by": "codebook"}, "needs k"),
        ({"by": "codebook", "radius": 1}, "leave it out"),
    ],
)
def test_parameters_outside_their_limits(parameters: dict[str, Any], reason: str) -> None:
    topology, _ = make_topology((3, 4))
    with pytest.raises(ParameterError, match=reason):
        topology.neighbors(5, **parameters)
