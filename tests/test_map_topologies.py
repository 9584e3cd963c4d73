"""Training and service have a map each: they agree on all distances and on where moves lead."""

import itertools

import numpy as np
import pytest
import torch

from kohonen_tokenizer.service.runtime.map_layout import map_coordinates
from kohonen_tokenizer.service.runtime.topology import Topology
from kohonen_tokenizer.training.grid import GRIDS, Grid, HexagonalGrid

MAPS = [
    ("rectangular", (5, 7)),
    ("rectangular", (9,)),
    ("toroidal", (5, 7)),
    ("toroidal", (6, 4)),
    ("toroidal", (9,)),
    ("toroidal", (8,)),
    ("hexagonal", (5, 7)),
    ("hexagonal", (6, 4)),
]
each_map = pytest.mark.parametrize(("name", "shape"), MAPS)


def both_maps(name, shape) -> tuple[Grid, Topology]:
    grid = GRIDS[name](shape)
    vectors = np.random.default_rng(0).normal(size=(grid.size, 3)).astype(np.float32)
    return grid, Topology(map_coordinates(shape), vectors=vectors, map_topology=name)


@each_map
def test_they_number_the_codes_alike(name, shape):
    assert np.array_equal(GRIDS[name](shape).coordinates().numpy(), map_coordinates(shape))


@each_map
def test_they_agree_on_the_distance_of_every_pair(name, shape):
    grid, topology = both_maps(name, shape)
    expected = grid.distances().numpy()
    for token in range(grid.size):
        neighbors = topology.neighbors(token, k=grid.size - 1)
        distances = {neighbor.token: neighbor.grid_distance for neighbor in neighbors}
        assert distances == {other: expected[token, other] for other in range(grid.size) if other != token}
        assert [neighbor.grid_distance for neighbor in neighbors] == sorted(distances.values())


@each_map
@pytest.mark.parametrize("radius", [1.0, 1.5, 2.7, 100.0])
def test_neighbors_within_a_radius_are_those_of_trainings_distances(name, shape, radius):
    grid, topology = both_maps(name, shape)
    within = (grid.distances() <= radius) & ~torch.eye(grid.size, dtype=torch.bool)
    table = topology.neighbor_table(radius=radius)
    assert table.tokens.shape[1] == int(within.sum(1).max())
    for token, row in enumerate(table.tokens):
        assert sorted(row[row >= 0]) == within[token].nonzero().flatten().tolist()


@each_map
def test_the_default_neighbors_are_those_that_training_calls_adjacent(name, shape):
    grid, topology = both_maps(name, shape)
    adjacent = grid.adjacency(connectivity=8)
    for token in range(grid.size):
        near = {neighbor.token for neighbor in topology.neighbors(token)}
        assert near == set(adjacent[token].nonzero().flatten().tolist())


@each_map
def test_soft_targets_are_gaussians_of_trainings_distances(name, shape):
    grid, topology = both_maps(name, shape)
    weights = torch.exp(-grid.distances().square() / (2 * 0.8**2))
    expected = weights / weights.sum(1, keepdim=True)
    assert np.allclose(topology.soft_targets(sigma=0.8), expected, rtol=1e-6, atol=0)


@each_map
def test_a_move_that_meets_no_edge_is_trainings_shift(name, shape):
    grid, topology = both_maps(name, shape)
    codes = torch.arange(grid.size)
    moved = topology.perturb(codes.numpy(), offset=(1,) * len(shape))
    shifted = grid.shift(codes, 1).numpy()
    if name == "toroidal":
        assert np.array_equal(moved, shifted)
    else:
        # Training mirrors a move at the edge, and the service stops there or turns round.
        columns, last_row = shape[-1], shape[0] - 1
        free = [
            code
            for code in range(grid.size)
            if code % columns < columns - 1 - (name == "hexagonal")
            and (len(shape) == 1 or code // columns < last_row)
        ]
        assert np.array_equal(moved[free], shifted[free])


@pytest.mark.parametrize("shape", list(itertools.product(range(1, 7), repeat=2)))
def test_no_neighbor_of_a_hexagonal_map_is_missed(shape):
    """Which of its tokens have most and fewest neighbors depends on rows, columns and distance."""
    grid, topology = both_maps("hexagonal", shape)
    distances = grid.distances().fill_diagonal_(torch.inf)
    ordered = distances.sort(dim=1).values.float().numpy()
    for k in range(1, grid.size):
        assert np.array_equal(topology.neighbor_table(k=k).grid_distance, ordered[:, :k])
    for radius in distances[distances.isfinite()].unique().tolist():
        width = topology.neighbor_table(radius=radius).tokens.shape[1]
        assert width == int((distances <= radius).sum(1).max())


def test_hexagons_can_be_walked_round():
    """Six steps, one in each direction of the two axes and their difference, lead back."""
    grid, topology = HexagonalGrid((7, 7)), both_maps("hexagonal", (7, 7))[1]
    token = np.array([24])
    walked = [token]
    for offset in [(1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1)]:
        walked.append(topology.perturb(walked[-1], offset=offset))
        assert grid.distances()[walked[-2], walked[-1]].item() == pytest.approx(1)
    assert walked[-1] == token
    assert len({step.item() for step in walked}) == 6
