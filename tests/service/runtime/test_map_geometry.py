"""Moves and paths on maps that wrap round and on maps of hexagons."""

import math

import numpy as np
import pytest

from kohonen_tokenizer.service.runtime.map_layout import MapTopology, map_coordinates
from kohonen_tokenizer.service.runtime.topology import Topology


def make_topology(map_topology: MapTopology, *shape: int) -> Topology:
    vectors = np.zeros((math.prod(shape), 1), dtype=np.float32)
    return Topology(map_coordinates(shape), vectors=vectors, map_topology=map_topology)


def center(token: int, columns: int) -> tuple[float, float]:
    """The middle of a hexagon in the plane."""
    y, x = divmod(token, columns)
    return x + (0.5 if y % 2 else 0.0), y * math.sqrt(3) / 2


@pytest.mark.parametrize("edge", ["clamp", "reflect"])
@pytest.mark.parametrize("offset", [(0, 0), (1, 0), (-3, 2), (10**30, -(10**30))])
def test_a_torus_has_no_edge(offset: tuple[int, int], edge: str) -> None:
    tokens = np.arange(12).reshape(2, 6)
    moved = make_topology("toroidal", 3, 4).perturb(tokens, offset=offset, edge=edge)  # type: ignore[arg-type]
    x, y = (tokens % 4 + offset[0] % 4) % 4, (tokens // 4 + offset[1] % 3) % 3
    assert np.array_equal(moved, x + 4 * y)
    assert moved.dtype == np.int32


def test_a_hexagon_moves_by_the_same_vector_from_every_row() -> None:
    topology = make_topology("hexagonal", 9, 12)
    for dx, dy in [(2, 0), (0, 2), (1, 1), (-2, 3), (3, -2)]:
        expected = dx + dy / 2, dy * math.sqrt(3) / 2
        for token in (4 * 12 + 5, 3 * 12 + 5):
            (moved,) = topology.perturb(np.array([token]), offset=(dx, dy)).tolist()
            way = [b - a for a, b in zip(center(token, 12), center(moved, 12), strict=True)]
            assert way == pytest.approx(expected)


def test_at_the_edge_hexagons_stop_or_turn() -> None:
    topology = make_topology("hexagonal", 3, 4)
    tokens = np.arange(12)
    assert topology.perturb(tokens, offset=(10**30, 0)).tolist() == [3] * 4 + [7] * 4 + [11] * 4
    down = topology.perturb(tokens, offset=(0, 10**30))
    # Two rows are one column; from the last column there is none.
    assert down.tolist() == [9, 10, 11, 11, 9, 10, 11, 11, 8, 9, 10, 11]
    turned = topology.perturb(tokens[:4], offset=(2, 0), edge="reflect")
    assert turned.tolist() == [2, 3, 2, 1]
    assert topology.perturb(tokens, offset=(6, 4), edge="reflect").tolist() == tokens.tolist()


def test_a_path_takes_the_shorter_way_round_a_torus() -> None:
    topology = make_topology("toroidal", 8)
    steps = topology.interpolate(np.array([1, 1, 6]), np.array([6, 5, 1]), num_steps=4)
    # From 1 to 6 over 0; 1 to 5 is as long either way and stays on the line; and the way back is the same.
    assert steps.T.tolist() == [[1, 0, 7, 6], [1, 2, 4, 5], [6, 7, 0, 1]]


@pytest.mark.parametrize("map_topology", ["toroidal", "hexagonal"])
def test_a_path_has_its_ends_and_its_way_back(map_topology: MapTopology) -> None:
    rng = np.random.default_rng(0)
    topology = make_topology(map_topology, 6, 8)
    start, end = rng.integers(48, size=(2, 3, 4))
    for num_steps in (2, 3, 7):
        path = topology.interpolate(start, end, num_steps=num_steps)
        assert np.array_equal(path[0], start)
        assert np.array_equal(path[-1], end)
        assert np.array_equal(path, topology.interpolate(end, start, num_steps=num_steps)[::-1])


def test_a_path_over_hexagons_goes_to_the_nearest_one() -> None:
    topology = make_topology("hexagonal", 6, 8)
    tokens = np.arange(48)
    num_steps = 6
    for start in (0, 13, 47):
        path = topology.interpolate(np.full(48, start), tokens, num_steps=num_steps)
        for step in range(num_steps):
            for end in tokens.tolist():
                share = step / (num_steps - 1)
                point = [a + (b - a) * share for a, b in zip(center(start, 8), center(end, 8), strict=True)]
                nearest = min(math.dist(point, center(token, 8)) for token in range(48))
                reached = math.dist(point, center(int(path[step, end]), 8))
                assert reached == pytest.approx(nearest, abs=1e-9)
