"""The whole table against the definitions, in float64 loops, and against the neighbors of each token."""

import math
from typing import Any

import numpy as np
import pytest

from kohonen_tokenizer.service.errors import ParameterError
from kohonen_tokenizer.service.runtime import chunks
from kohonen_tokenizer.service.runtime.map_layout import map_coordinates
from kohonen_tokenizer.service.runtime.topology import Topology

MAP_SHAPES = [(3, 4), (5, 2), (1, 6), (6, 1), (7,)]
CHOICES: list[dict[str, Any]] = [
    {},
    {"radius": 0},
    {"radius": 1},
    {"radius": math.sqrt(5)},
    {"radius": 1e300},
    {"k": 1},
    {"k": 5},
    {"k": 2, "by": "codebook"},
    {"k": 5, "by": "codebook"},
]


def make_vectors(map_shape: tuple[int, ...]) -> np.ndarray:
    """Code vectors float32 [K, 2] of few values, so that many distances are equal."""
    random = np.random.default_rng(0)
    return random.integers(0, 3, size=(math.prod(map_shape), 2)).astype(np.float32)


def literal_rows(map_shape: tuple[int, ...], vectors: np.ndarray, choice: dict[str, Any]) -> list[list[Any]]:
    """For each token its neighbors as (token, grid distance, codebook distance), in order."""
    columns = map_shape[-1]
    places = [divmod(token, columns) for token in range(len(vectors))]
    rows = []
    for token, place in enumerate(places):
        row = [
            (other, math.dist(place, there), math.dist(vectors[token].tolist(), vectors[other].tolist()))
            for other, there in enumerate(places)
            if other != token
        ]
        if choice.get("by") == "codebook":
            row.sort(key=lambda neighbor: (neighbor[2], neighbor[1], neighbor[0]))
        else:
            row.sort(key=lambda neighbor: (neighbor[1], neighbor[2], neighbor[0]))
        if "k" in choice:
            row = row[: choice["k"]]
        else:
            row = [neighbor for neighbor in row if neighbor[1] <= choice.get("radius", 1.5)]
        rows.append(row)
    return rows


@pytest.fixture(params=["whole", "in pieces"])
def _any_size_of_chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in pieces":
        monkeypatch.setattr(chunks, "CHUNK_VALUES", 17)


@pytest.mark.usefixtures("_any_size_of_chunk")
@pytest.mark.parametrize("map_shape", MAP_SHAPES)
@pytest.mark.parametrize("choice", CHOICES)
def test_the_table_is_what_the_definitions_say(map_shape: tuple[int, ...], choice: dict[str, Any]) -> None:
    vectors = make_vectors(map_shape)
    topology = Topology(map_coordinates(map_shape), vectors=vectors)
    table = topology.neighbor_table(**choice)
    rows = literal_rows(map_shape, vectors, choice)
    width = max(map(len, rows))
    padded = [row + [(-1, math.inf, math.inf)] * (width - len(row)) for row in rows]
    expected = np.array(padded, dtype=np.float64).reshape(len(rows), width, 3)
    assert table.tokens.dtype == np.int32
    assert np.array_equal(table.tokens, expected[..., 0])
    assert table.grid_distance.dtype == table.codebook_distance.dtype == np.float32
    assert np.array_equal(table.grid_distance, expected[..., 1].astype(np.float32))
    assert np.array_equal(table.codebook_distance, expected[..., 2].astype(np.float32))


@pytest.mark.parametrize("choice", CHOICES)
def test_each_row_is_what_neighbors_gives(choice: dict[str, Any]) -> None:
    vectors = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
    topology = Topology(map_coordinates((3, 4)), vectors=vectors)
    table = topology.neighbor_table(**choice)
    for token in range(12):
        neighbors = topology.neighbors(token, **choice)
        size = len(neighbors)
        assert table.tokens[token, :size].tolist() == [n.token for n in neighbors]
        assert (table.tokens[token, size:] == -1).all()
        exact = np.array([(n.grid_distance, n.codebook_distance) for n in neighbors]).reshape(size, 2)
        assert np.array_equal(table.grid_distance[token, :size], exact[:, 0].astype(np.float32))
        assert np.array_equal(table.codebook_distance[token, :size], exact[:, 1].astype(np.float32))


def test_the_middle_of_the_map_sets_the_width() -> None:
    topology = Topology(map_coordinates((5, 5)), vectors=np.zeros((25, 1), dtype=np.float32))
    assert [topology.search(radius=radius).width for radius in (0, 1, 1.5, 2, 1e9)] == [0, 4, 8, 12, 24]
    assert topology.search(k=7).width == 7
    assert topology.neighbor_table(radius=1).tokens[0].tolist() == [1, 5, -1, -1]


def test_a_map_of_one_token_has_an_empty_table() -> None:
    topology = Topology(map_coordinates((1, 1)), vectors=np.zeros((1, 2), dtype=np.float32))
    assert topology.neighbor_table().tokens.shape == (1, 0)


def test_what_rounding_hides_is_found_all_the_same() -> None:
    # Squared norms of 2.56e18 are rounded to 512, and squared distances differ by 64 here: the expanded
    # square alone would put other codes among the nearest.
    vectors = (1e8 + 8 * np.random.default_rng(0).integers(0, 4, size=(60, 256))).astype(np.float32)
    topology = Topology(map_coordinates((6, 10)), vectors=vectors)
    rows = literal_rows((6, 10), vectors, {"k": 3, "by": "codebook"})
    table = topology.neighbor_table(k=3, by="codebook")
    assert table.tokens.tolist() == [[neighbor[0] for neighbor in row] for row in rows]


def test_a_large_map_needs_no_table_of_pairs() -> None:
    # 65,536 x 65,536 distances would be 32 GiB.
    topology = Topology(map_coordinates((256, 256)), vectors=np.zeros((65_536, 2), dtype=np.float32))
    table = topology.neighbor_table(radius=1)
    assert table.tokens.shape == (65_536, 4)
    assert table.tokens[[0, 65_535]].tolist() == [[1, 256, -1, -1], [65_279, 65_534, -1, -1]]
    # All code vectors are equal, so the places decide.
    assert topology.neighbor_table(k=2).tokens[257].tolist() == [1, 256]


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"radius": 1, "k": 1}, "both given"),
        ({"radius": -1}, "radius is -1; it must be a number of 0 or more"),
        ({"k": 12}, "k is 12; it must be 1 to 11"),
        ({"by": "codebook"}, "needs k"),
    ],
)
def test_choices_outside_their_limits(choice: dict[str, Any], reason: str) -> None:
    topology = Topology(map_coordinates((3, 4)), vectors=np.zeros((12, 1), dtype=np.float32))
    with pytest.raises(ParameterError, match=reason):
        topology.neighbor_table(**choice)
