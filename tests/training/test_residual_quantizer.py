"""Residual quantization against a literal walk through its stages."""

import math

import pytest
import torch

from kohonen_tokenizer.training.grid import Grid
from kohonen_tokenizer.training.neighborhood import HardNeighborhood
from kohonen_tokenizer.training.quantizer import KohonenQuantizer, on_first_map
from kohonen_tokenizer.training.residual_quantizer import ResidualQuantizer

K, D = 12, 3


def make_stage(seed):
    torch.manual_seed(seed)
    neighborhood = HardNeighborhood(shrink_step=0.1)
    return KohonenQuantizer(Grid((3, 4)), code_dim=D, neighborhood=neighborhood).double()


def make_latents():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, D, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)


def test_a_latent_is_the_sum_of_the_nearest_codes_of_what_is_left():
    quantizer = ResidualQuantizer([make_stage(0), make_stage(1), make_stage(2)]).eval()
    latents = make_latents()
    result = quantizer(latents)
    assert result.indices.shape == (2, 3, 2, 3)
    commitment = 0.0
    for b in range(2):
        for y in range(2):
            for x in range(3):
                left, total = latents[b, :, y, x].tolist(), [0.0] * D
                for number, stage in enumerate(quantizer.stages):
                    codes = stage.codebook.tolist()
                    nearest = min(range(K), key=lambda k: math.dist(left, codes[k]))
                    assert result.indices[b, number, y, x] == nearest
                    left = [a - e for a, e in zip(left, codes[nearest], strict=True)]
                    total = [a + e for a, e in zip(total, codes[nearest], strict=True)]
                    commitment += sum(a**2 for a in left)
                assert result.latents[b, :, y, x].tolist() == pytest.approx(total)
    assert result.commitment_loss.item() == pytest.approx(commitment / latents.numel(), rel=1e-12)
    assert torch.allclose(quantizer.lookup(result.indices), result.latents)


def test_each_stage_learns_from_what_the_ones_before_left():
    together = ResidualQuantizer([make_stage(0), make_stage(1)])
    first, second = make_stage(0), make_stage(1)
    latents = make_latents().detach()
    for _ in range(3):
        together(latents)
        second(latents - first(latents).latents)
    for stage, alone in zip(together.stages, (first, second), strict=True):
        assert torch.equal(stage.codebook, alone.codebook)
        assert stage.step.item() == 3
    assert torch.equal(together.codebook, first.codebook)


def test_gradients_pass_straight_through_and_commit_to_all_stages():
    quantizer = ResidualQuantizer([make_stage(0), make_stage(1)]).eval()
    latents = make_latents()
    result = quantizer(latents)
    result.latents.sum().backward(retain_graph=True)
    assert torch.equal(latents.grad, torch.ones_like(latents))
    latents.grad = None
    result.commitment_loss.backward()
    first = quantizer.stages[0].lookup(result.indices[:, 0])
    both = quantizer.lookup(result.indices)
    expected = 2 * ((latents - first) + (latents - both)) / latents.numel()
    assert torch.allclose(latents.grad, expected)


def test_one_stage_is_an_error():
    with pytest.raises(ValueError, match="num_stages 1: must be at least 2"):
        ResidualQuantizer([make_stage(0)])


def test_usage_is_that_of_the_first_stage_whose_map_it_is():
    first = torch.tensor([[[1, 2], [3, 4]]])
    indices = torch.stack([first, torch.full_like(first, 9)], dim=1)
    assert torch.equal(on_first_map(indices), first)
    assert torch.equal(on_first_map(first), first)
