"""Neighborhood matrices against the equations written out entry by entry."""

import math

import pytest
import torch

from kohonen_tokenizer.training.grid import Grid
from kohonen_tokenizer.training.neighborhood import (
    GaussianNeighborhood,
    HardNeighborhood,
    NoNeighborhood,
    WideGaussianNeighborhood,
)

TAU = 0.1


def hard(distance, t):
    """Eqs. 3-4, with d(G) = sqrt(2)."""
    if distance == 0:
        return 1.0
    return 1 / (1 + t * TAU) if distance <= math.sqrt(2) + 1e-9 else 0.0


def gaussian(distance, t):
    """Eq. 5 with sigma(t)^2 = 1 / (1 + t tau)."""
    sigma_squared = 1 / (1 + t * TAU)
    return math.exp(-(distance**2) / sigma_squared)


def wide_gaussian(distance, t):
    """The published code's form: the distance is not squared and is divided by 10."""
    return math.exp(-distance * (1 + t * TAU) / 10)


def none(distance, t):
    return 1.0 if distance == 0 else 0.0


@pytest.mark.parametrize("shape", [(4, 6), (7,)])
@pytest.mark.parametrize("t", [0, 1, 250])
@pytest.mark.parametrize(
    ("neighborhood", "entry"),
    [
        (NoNeighborhood(), none),
        (HardNeighborhood(TAU), hard),
        (GaussianNeighborhood(TAU), gaussian),
        (WideGaussianNeighborhood(TAU), wide_gaussian),
    ],
)
def test_every_entry_is_the_equation(shape, t, neighborhood, entry):
    grid = Grid(shape)
    matrix = neighborhood.matrix(grid.distances(), torch.tensor(t))
    columns = shape[-1]
    for i in range(grid.size):
        for j in range(grid.size):
            distance = math.dist((i % columns, i // columns), (j % columns, j // columns))
            assert matrix[i, j].item() == pytest.approx(entry(distance, t), abs=1e-12)


def test_hard_reaches_eight_nodes_on_a_grid_and_two_on_a_line():
    on_grid = HardNeighborhood(TAU).matrix(Grid((4, 6)).distances(), torch.tensor(0))
    assert on_grid[2 * 6 + 2].sum() == 9, "Figure 1: the node (2, 2) and the eight around it"
    assert on_grid[0].sum() == 4
    on_line = HardNeighborhood(TAU).matrix(Grid((24,)).distances(), torch.tensor(0))
    assert on_line[12].sum() == 3


@pytest.mark.parametrize("kind", [HardNeighborhood, GaussianNeighborhood, WideGaussianNeighborhood])
def test_all_shrink_to_the_identity(kind):
    matrix = kind(TAU).matrix(Grid((4, 6)).distances(), torch.tensor(10**9))
    torch.testing.assert_close(matrix, torch.eye(24, dtype=torch.float64), atol=1e-7, rtol=0)


@pytest.mark.parametrize("kind", [HardNeighborhood, GaussianNeighborhood, WideGaussianNeighborhood])
@pytest.mark.parametrize("shrink_step", [0, -1, math.nan, math.inf])
def test_a_shrink_step_that_does_not_shrink_is_an_error(kind, shrink_step):
    with pytest.raises(ValueError, match="shrink_step"):
        kind(shrink_step)
