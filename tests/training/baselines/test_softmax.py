"""The softmax relaxation against literal loops, and at its limits."""

import math

import pytest
import torch

from kohonen_tokenizer.training.baselines.softmax import Annealing, SoftmaxQuantizer
from kohonen_tokenizer.training.grid import Grid
from kohonen_tokenizer.training.neighborhood import HardNeighborhood, NoNeighborhood

K, D = 6, 4
GRID = Grid((2, 3))


def make_quantizer(*, neighborhood, initial=1.0, final=0.01, num_steps=10):
    torch.manual_seed(0)
    annealing = Annealing(initial=initial, final=final, num_steps=num_steps)
    quantizer = SoftmaxQuantizer(GRID, code_dim=D, neighborhood=neighborhood, annealing=annealing).double()
    quantizer.grid_distances = GRID.distances()
    return quantizer


def make_latents():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, D, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("step", [0, 3, 10, 25])
def test_the_latents_are_literal_means_of_codes(step):
    quantizer = make_quantizer(neighborhood=HardNeighborhood(shrink_step=0.1))
    quantizer.step.fill_(step)
    latents = make_latents()
    result = quantizer(latents).latents.permute(0, 2, 3, 1).reshape(-1, D)
    codes = quantizer.codebook.tolist()
    temperature = 1.0 * 0.01 ** (min(step, 10) / 10)
    for vector, mixed in zip(
        latents.detach().permute(0, 2, 3, 1).reshape(-1, D).tolist(), result.tolist(), strict=True
    ):
        scores = [-(math.dist(vector, code) ** 2) / (D * temperature) for code in codes]
        powers = [math.exp(score - max(scores)) for score in scores]
        shares = [0.0] * K
        for j in range(K):
            for k in range(K):
                apart = math.dist((j % 3, j // 3), (k % 3, k // 3))
                a = 1.0 if j == k else 1 / (1 + 0.1 * step) if apart < 1.5 else 0.0
                shares[k] += powers[j] / sum(powers) * a
        expected = [
            sum(share * code[d] for share, code in zip(shares, codes, strict=True)) / sum(shares)
            for d in range(D)
        ]
        assert mixed == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert quantizer.step.item() == step + 1


def test_the_gradient_is_the_true_one():
    quantizer = make_quantizer(neighborhood=HardNeighborhood(shrink_step=0.1)).train()
    step = quantizer.step.clone()

    def loss(latents, codebook):
        quantizer.step.copy_(step)
        return torch.func.functional_call(quantizer, {"codebook": codebook}, latents).latents

    assert torch.autograd.gradcheck(loss, (make_latents(), quantizer.codebook))


def test_when_it_is_cold_it_chooses_the_nearest_code():
    quantizer = make_quantizer(neighborhood=NoNeighborhood(), final=1e-6)
    quantizer.step.fill_(10)
    soft = quantizer(make_latents())
    hard = quantizer.eval()(make_latents())
    assert torch.allclose(soft.latents, hard.latents)
    assert torch.equal(soft.indices, hard.indices)
    assert torch.equal(hard.latents, quantizer.lookup(hard.indices))


def test_evaluation_is_discrete_and_counts_no_step():
    quantizer = make_quantizer(neighborhood=NoNeighborhood()).eval()
    result = quantizer(make_latents())
    codes = {tuple(code) for code in quantizer.codebook.tolist()}
    assert {tuple(row) for row in result.latents.permute(0, 2, 3, 1).reshape(-1, D).tolist()} <= codes
    assert quantizer.step.item() == 0


@pytest.mark.parametrize(
    ("values", "reason"),
    [((0.1, 1.0, 5), "temperature 0.1 to 1.0"), ((1.0, 0.0, 5), "over 0"), ((1.0, 0.1, 0), "anneal_steps 0")],
)
def test_a_schedule_that_does_not_fall_is_an_error(values, reason):
    with pytest.raises(ValueError, match=reason):
        Annealing(*values)
