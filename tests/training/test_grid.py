import math

import pytest
import torch
from minisom import MiniSom

from kohonen_tokenizer.training.grid import Grid, HexagonalGrid, ToroidalGrid


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


def test_a_torus_is_its_own_neighbor_across_the_edges():
    rows, columns = 4, 5
    distances = ToroidalGrid((rows, columns)).distances()
    for i in range(20):
        for j in range(20):
            expected = min(
                math.dist((i % 5, i // 5), (j % 5 + right * columns, j // 5 + down * rows))
                for right in (-1, 0, 1)
                for down in (-1, 0, 1)
            )
            assert distances[i, j].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("connectivity", "expected"), [(4, 4), (8, 8)])
def test_every_code_of_a_torus_has_as_many_neighbors(connectivity, expected):
    adjacency = ToroidalGrid((3, 4)).adjacency(connectivity=connectivity)
    assert adjacency.sum(1).tolist() == [expected] * 12
    assert torch.equal(adjacency, adjacency.T)


def test_a_ring_ends_where_it_begins():
    assert ToroidalGrid((5,)).distances()[0].tolist() == [0, 1, 2, 2, 1]
    assert ToroidalGrid((5,)).shift(torch.tensor([0, 4]), 2).tolist() == [2, 1]


def test_hexagons_are_as_far_apart_as_their_centers_in_the_plane():
    grid = HexagonalGrid((4, 5))
    centers = [(k % 5 + (0.5 if k // 5 % 2 else 0), k // 5 * math.sqrt(3) / 2) for k in range(20)]
    assert torch.allclose(grid.positions(), torch.tensor(centers, dtype=torch.float64), atol=1e-12)
    for i, first in enumerate(centers):
        for j, second in enumerate(centers):
            assert grid.distances()[i, j].item() == pytest.approx(math.dist(first, second), abs=1e-12)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_a_hexagon_touches_six_others_and_minisom_agrees(connectivity):
    grid = HexagonalGrid((5, 6))
    adjacency = grid.adjacency(connectivity=connectivity)
    assert torch.equal(adjacency, (grid.distances() - 1).abs() < 1e-9)
    # Code 14 is in the middle of row 2, code 20 in that of row 3.
    assert adjacency[14].nonzero().flatten().tolist() == [7, 8, 13, 15, 19, 20]
    assert adjacency[20].nonzero().flatten().tolist() == [14, 15, 19, 21, 26, 27]
    # Of an odd number of rows, MiniSom moves the even ones half a step to the left: the same hexagons.
    som = MiniSom(6, 5, 1, topology="hexagonal", random_seed=0)
    theirs = torch.tensor(
        [som.convert_map_to_euclidean((k % 6, k // 6)) for k in range(30)], dtype=torch.float64
    )
    assert torch.allclose(torch.cdist(theirs, theirs), grid.distances(), atol=1e-12)


@pytest.mark.parametrize("grid", [ToroidalGrid((4, 6)), HexagonalGrid((4, 6)), HexagonalGrid((5, 7))])
@pytest.mark.parametrize("offset", [0, 1, -1, 2, -2])
def test_shift_moves_every_code_of_any_map_by_the_same_distance(grid, offset):
    codes = torch.arange(grid.size)
    distances = grid.distances()[codes, grid.shift(codes, offset)]
    expected = abs(offset) * math.sqrt(3 if isinstance(grid, HexagonalGrid) else 2)
    assert torch.allclose(distances, torch.full_like(distances, expected))


def test_shift_beyond_a_hexagonal_map_is_an_error():
    with pytest.raises(ValueError, match=r"offset 3: a map of shape \(16, 8\) allows at most 2"):
        HexagonalGrid((16, 8)).shift(torch.tensor([0]), 3)


def test_a_hexagonal_line_is_an_error():
    with pytest.raises(ValueError, match="a hexagonal map has 2 sides"):
        HexagonalGrid((12,))


@pytest.mark.parametrize("grid", [Grid((3, 4)), ToroidalGrid((3, 4)), HexagonalGrid((3, 4))])
def test_another_connectivity_is_an_error(grid):
    with pytest.raises(ValueError, match="connectivity 6: use 8 or 4"):
        grid.adjacency(connectivity=6)
