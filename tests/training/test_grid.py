import math

import pytest
import torch

from kohonen_tokenizer.training.grid import Grid


def test_code_k_stands_at_column_then_row():
    grid = Grid((16, 32))
    assert grid.size == 512
    for code in (0, 31, 32, 37, 511):
        assert grid.coordinates()[code].tolist() == [code % 32, code // 32]


def test_distances_are_euclidean_and_do_not_wrap():
    distances = Grid((3, 4)).distances()
    for i in range(12):
        for j in range(12):
            expected = math.dist((i % 4, i // 4), (j % 4, j // 4))
            assert distances[i, j].item() == pytest.approx(expected, abs=1e-12)
    assert distances[3, 4].item() == pytest.approx(math.sqrt(10))


def test_a_line_has_one_coordinate():
    grid = Grid((5,))
    assert grid.coordinates().tolist() == [[0], [1], [2], [3], [4]]
    assert torch.equal(grid.distances()[0], torch.arange(5).double())


def test_a_codebook_that_does_not_fit_is_an_error():
    assert Grid.for_codebook((16, 32), 512).size == 512
    with pytest.raises(ValueError, match=r"\(16, 31\) has 496 nodes but the codebook has 512"):
        Grid.for_codebook((16, 31), 512)


@pytest.mark.parametrize("shape", [(), (2, 2, 2), (0, 4), (-1,)])
def test_shapes_of_other_dimensions_or_without_nodes_are_errors(shape):
    with pytest.raises(ValueError, match="must have 1 or 2 sides"):
        Grid(shape)


@pytest.mark.parametrize("offset", [0, 1, -1, 2, -2])
def test_shift_moves_every_code_by_the_offset_and_stays_on_the_map(offset):
    grid = Grid((4, 6))
    codes = torch.arange(24).view(2, 12)
    moved = grid.shift(codes, offset)
    for code, other in zip(codes.flatten().tolist(), moved.flatten().tolist(), strict=True):
        x, y = code % 6, code // 6
        expected_x = x + offset if 0 <= x + offset < 6 else x - offset
        expected_y = y + offset if 0 <= y + offset < 4 else y - offset
        assert other == expected_y * 6 + expected_x


def test_shift_on_a_line_and_beyond_its_length():
    assert Grid((5,)).shift(torch.tensor([0, 3, 4]), 2).tolist() == [2, 1, 2]
    with pytest.raises(ValueError, match="offset 3: a map of shape"):
        Grid((4, 32)).shift(torch.tensor([0]), 3)
