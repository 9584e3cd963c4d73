"""Dead codes: judged by their own members, refilled from the map."""

import pytest
import torch

from kohonen_tokenizer.training.grid import Grid, ToroidalGrid
from kohonen_tokenizer.training.map_order import code_distances, u_matrix
from kohonen_tokenizer.training.neighborhood import HardNeighborhood, NoNeighborhood
from kohonen_tokenizer.training.quantizer import KohonenQuantizer
from kohonen_tokenizer.training.revival import NeighborRevival

SHAPE = (3, 4)


class State:
    def __init__(self, size, dim):
        generator = torch.Generator().manual_seed(0)
        self.codebook = torch.randn(size, dim, generator=generator, dtype=torch.float64)
        self.ema_counts = 1 + torch.rand(size, generator=generator, dtype=torch.float64)
        self.ema_sums = self.codebook * self.ema_counts[:, None]


def literal_revival(state, members, counts, *, decay, min_members, adjacent):
    """In loops: averages first, then who is dead, then the refills from those who are not."""
    size, dim = state.codebook.shape
    w, n, m = state.codebook.tolist(), state.ema_counts.tolist(), state.ema_sums.tolist()
    members = [decay * old + (1 - decay) * new for old, new in zip(members, counts, strict=True)]
    dead = [member < min_members for member in members]
    new_w, new_n, new_m = [row[:] for row in w], n[:], [row[:] for row in m]
    for k in range(size):
        living = [j for j in range(size) if adjacent[k][j] and not dead[j]]
        if dead[k] and living:
            new_n[k] = sum(n[j] for j in living) / len(living)
            for d in range(dim):
                new_w[k][d] = sum(w[j][d] for j in living) / len(living)
                new_m[k][d] = new_w[k][d] * new_n[k]
            members[k] = 1.0
    return new_w, new_n, new_m, members


@pytest.mark.parametrize("grid", [Grid(SHAPE), ToroidalGrid(SHAPE)])
def test_it_follows_the_rule_step_by_step(grid):
    state = State(12, 3)
    revival = NeighborRevival(grid, min_members=0.1, decay=0.5).double()
    adjacent = grid.adjacency(connectivity=8).tolist()
    members = [1.0] * 12
    generator = torch.Generator().manual_seed(1)
    num_refilled = 0
    for _ in range(8):
        counts = torch.randint(0, 6, (12,), generator=generator).double()
        counts[[0, 1, 4, 5, 6, 9]] = 0
        expected = literal_revival(
            state, members, counts.tolist(), decay=0.5, min_members=0.1, adjacent=adjacent
        )
        before = state.codebook.clone()
        revival.after_update(state, counts)
        members = expected[-1]
        actual = state.codebook, state.ema_counts, state.ema_sums, revival.member_counts
        for tensor, values in zip(actual, expected, strict=True):
            assert torch.allclose(tensor, torch.tensor(values, dtype=torch.float64), atol=1e-12)
        num_refilled += int((state.codebook != before).any(1).sum())
    assert num_refilled >= 6


def test_a_code_among_the_dead_waits_until_its_neighbors_live():
    state = State(5, 2)
    before = state.codebook.clone()
    revival = NeighborRevival(Grid((5,)), min_members=0.1, decay=0).double()
    only_first = torch.tensor([9, 0, 0, 0, 0]).double()
    revival.after_update(state, only_first)
    assert torch.equal(state.codebook[1], before[0])
    assert torch.equal(state.codebook[2:], before[2:])


def test_members_of_neighbors_do_not_hide_a_dead_code():
    """A code that its neighbors pull along counts many members in the averages, and has none."""
    grid = Grid((3,))
    quantizer = KohonenQuantizer(
        grid,
        code_dim=1,
        neighborhood=HardNeighborhood(shrink_step=1e-6),
        decay=0.9,
        revival=NeighborRevival(grid, min_members=0.1, decay=0.9),
    )
    quantizer.replace_codebook(torch.tensor([[-1.0], [50.0], [2.0]]))
    batch = torch.tensor([-1.0, 2.0] * 10).view(20, 1, 1, 1)
    members = []
    for _ in range(30):
        quantizer(batch)
        members.append(quantizer.revival.member_counts[1].item())
    assert quantizer.ema_counts[1] > 5
    # 0.9^22 is the first power under 0.1: there the code is refilled, and counts from 1 again.
    assert members[:21] == pytest.approx([0.9**step for step in range(1, 22)], rel=1e-5)
    assert members[21:] == pytest.approx([0.9**step for step in range(9)], rel=1e-5)


@pytest.mark.parametrize("revived", [False, True])
def test_a_codebook_with_dead_codes_is_used_whole_and_in_order_again(revived):
    """Half of a line of codes starts where no input is; EMA-VQ alone never reaches them."""
    torch.manual_seed(0)
    grid = Grid((15,))
    revival = NeighborRevival(grid, min_members=0.1, decay=0.9) if revived else None
    quantizer = KohonenQuantizer(
        grid, code_dim=1, neighborhood=NoNeighborhood(), update_unused=False, decay=0.9, revival=revival
    )
    start = torch.arange(15.0)[:, None]
    start[1::2] = 1e3
    quantizer.replace_codebook(start)
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        quantizer(14 * torch.rand(64, 1, 1, 1, generator=generator))
    num_used = len(quantizer.eval()(14 * torch.rand(4000, 1, 1, 1, generator=generator)).indices.unique())
    in_order = bool((quantizer.codebook.diff(dim=0) > 0).all())
    assert (num_used, in_order) == ((15, True) if revived else (8, False))
    if revived:
        sums = quantizer.codebook * quantizer.ema_counts[:, None]
        assert torch.allclose(quantizer.ema_sums, sums, rtol=1e-4)
        assert u_matrix(quantizer.codebook, grid).max() < code_distances(quantizer.codebook).max() / 4


def test_its_state_is_in_the_checkpoint_and_nothing_is_there_without_it():
    grid = Grid(SHAPE)
    with_revival = KohonenQuantizer(
        grid, code_dim=2, neighborhood=NoNeighborhood(), revival=NeighborRevival(grid, min_members=0.1)
    )
    without = KohonenQuantizer(grid, code_dim=2, neighborhood=NoNeighborhood())
    assert set(with_revival.state_dict()) - set(without.state_dict()) == {"revival.member_counts"}
    assert set(without.state_dict()) == {"codebook", "ema_sums", "ema_counts", "step"}


@pytest.mark.parametrize("min_members", [0, -1, 1, float("nan")])
def test_a_threshold_that_no_code_or_every_code_is_under_is_an_error(min_members):
    with pytest.raises(ValueError, match="must be over 0 and under"):
        NeighborRevival(Grid(SHAPE), min_members=min_members)
