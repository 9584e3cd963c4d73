"""The picture of a map: what is where, and how bright."""

import numpy as np
import pytest
import torch

from kohonen_tokenizer.training.grid import Grid, HexagonalGrid, ToroidalGrid
from kohonen_tokenizer.training.map_picture import draw_map

CELL = 12


@pytest.mark.parametrize("grid", [Grid((3, 4)), ToroidalGrid((3, 4)), HexagonalGrid((3, 4)), Grid((5,))])
def test_each_cell_has_the_gray_of_its_value(grid):
    values = torch.randperm(grid.size, generator=torch.Generator().manual_seed(0)).double() * 3 - 7
    picture = np.asarray(draw_map(values, grid, cell_pixels=CELL))
    for code in range(grid.size):
        x, y = code % grid.shape[-1], code // grid.shape[-1]
        across, down = (x + 0.5) * CELL, (y + 0.5) * CELL
        if isinstance(grid, HexagonalGrid):
            across += CELL / 2 * (y % 2)
            down = (0.5774 + y * 0.866) * CELL
        expected = round(float(values[code] - values.min()) / float(values.max() - values.min()) * 255)
        assert picture[int(down), int(across)] == expected


def test_its_size_is_that_of_the_cells():
    assert draw_map(torch.arange(12.0), Grid((3, 4)), cell_pixels=CELL).size == (48, 36)
    # The odd row stands half a hexagon further right; rows overlap by a quarter of their height.
    assert draw_map(torch.arange(8.0), HexagonalGrid((2, 4)), cell_pixels=CELL).size == (54, 25)


def test_equal_values_are_middle_gray():
    assert set(np.unique(draw_map(torch.ones(6), Grid((2, 3))))) == {128}


def test_a_value_that_is_no_number_is_an_error():
    with pytest.raises(ValueError, match="not finite"):
        draw_map(torch.tensor([float("nan")]), Grid((1,)))
