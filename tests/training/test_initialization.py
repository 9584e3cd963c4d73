"""First codes from the first batch, and their order on the map."""

import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

from kohonen_tokenizer.training.errors import ConfigError
from kohonen_tokenizer.training.grid import Grid, ToroidalGrid
from kohonen_tokenizer.training.initialization import (
    initialize_codebooks,
    k_means_codes,
    laid_on_map,
    sample_codes,
)
from kohonen_tokenizer.training.neighborhood import NoNeighborhood
from kohonen_tokenizer.training.quantizer import KohonenQuantizer, nearest_codes
from kohonen_tokenizer.training.residual_quantizer import ResidualQuantizer
from kohonen_tokenizer.training.topology import topographic_error, topographic_error_null


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_sample_is_of_the_batch_and_without_repetition():
    vectors = torch.randn(50, 3, generator=generator())
    codes = sample_codes(vectors, 20, generator(1))
    places = (codes[:, None] == vectors).all(-1).nonzero()
    assert places[:, 0].tolist() == list(range(20))
    assert len(places[:, 1].unique()) == 20


def test_what_comes_twice_is_chosen_once():
    vectors = torch.randn(20, 3, generator=generator()).repeat(3, 1)
    assert len(sample_codes(vectors, 20, generator(1)).unique(dim=0)) == 20


def test_k_means_is_scikit_learns_from_the_same_start():
    vectors = torch.randn(300, 4, generator=generator()).double()
    # The function shuffles, then samples: do the same with the same generator.
    start_generator = generator(2)
    shuffled = vectors[torch.randperm(300, generator=start_generator)].unique(dim=0)
    start = shuffled[torch.randperm(300, generator=start_generator)[:8]]
    oracle = KMeans(8, init=start.numpy(), n_init=1, max_iter=20, tol=0, algorithm="lloyd").fit(
        vectors.numpy()
    )
    codes = k_means_codes(vectors, 8, generator(2))
    assert torch.allclose(codes, torch.from_numpy(oracle.cluster_centers_), atol=1e-9)


def test_a_center_without_members_stays():
    # Found by search: from this start one of the six loses all of its own for good.
    points = [(0, 1), (3, 0), (3, 2), (5, 1), (6, 4), (6, 2)]
    points += [(2, 1), (3, 5), (4, 1), (4, 6), (3, 7), (0, 0)]
    vectors = torch.tensor(points).double()
    codes = k_means_codes(vectors, 6, generator())
    assert len(nearest_codes(vectors, codes).unique()) == 5
    assert (codes >= 0).all()
    assert (codes <= 7).all()


@pytest.mark.parametrize("choose", [sample_codes, k_means_codes])
def test_a_batch_smaller_than_the_codebook_is_an_error(choose):
    with pytest.raises(ConfigError, match="the first batch has 1 different latent vectors for 8 codes"):
        choose(torch.zeros(5, 2), 8, generator())


@pytest.mark.parametrize("grid", [Grid((8, 12)), Grid((12, 8)), ToroidalGrid((8, 12)), Grid((96,))])
def test_codes_come_to_lie_in_order(grid):
    """Of a plane, stretched and turned in space."""
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator(1))).Q
    plane = torch.randn(4000, 2, generator=generator(2)) * torch.tensor(
        [3.0, 2.0 if len(grid.shape) == 2 else 0.1]
    )
    vectors = torch.cat([plane, 0.01 * torch.randn(4000, 3, generator=generator(3))], dim=1) @ turn
    codes = k_means_codes(vectors, 96, generator())
    laid = laid_on_map(codes, grid)
    assert torch.equal(laid.sort(0).values, codes.sort(0).values)
    null = topographic_error_null(grid, connectivity=8)
    assert topographic_error(vectors, codes, grid, connectivity=8) > 0.8 * null
    assert topographic_error(vectors, laid, grid, connectivity=8) < 0.6 * null


class TwoLevels(nn.Module):
    """A model whose second quantizer sees what the first makes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        make = [KohonenQuantizer(Grid((2, 4)), code_dim=3, neighborhood=NoNeighborhood()) for _ in range(3)]
        self.first = make[0]
        self.second = ResidualQuantizer(make[1:])

    def forward(self, images):
        first = self.first(images)
        return self.second(images - 2 * first.latents).latents


def test_each_quantizer_starts_from_latents_that_it_will_see():
    model = TwoLevels()
    images = torch.randn(6, 3, 2, 2, generator=generator())
    initialize_codebooks(model, images, choose=sample_codes, seed=5)

    def rows(latents):
        return {tuple(row) for row in latents.permute(0, 2, 3, 1).reshape(-1, 3).tolist()}

    model.eval()
    inputs = images
    seen = rows(inputs)
    assert {tuple(code) for code in model.first.codebook.tolist()} <= seen
    inputs = images - 2 * model.first(images).latents
    assert {tuple(code) for code in model.second.stages[0].codebook.tolist()} <= rows(inputs)
    inputs = inputs - model.second.stages[0](inputs).latents
    assert {tuple(code) for code in model.second.stages[1].codebook.tolist()} <= rows(inputs)
    for stage in (model.first, *model.second.stages):
        assert torch.equal(stage.ema_sums, stage.codebook)
        assert stage.ema_counts.tolist() == [1.0] * 8
        assert stage.step.item() == 0


def test_it_leaves_no_hook_and_the_mode_as_it_was():
    model = TwoLevels().train()
    images = torch.randn(6, 3, 2, 2, generator=generator())
    with pytest.raises(ConfigError):
        initialize_codebooks(model, images[:1], choose=sample_codes, seed=5)
    assert model.training
    before = model.first.codebook.clone()
    model.eval()(images)
    assert torch.equal(model.first.codebook, before)
