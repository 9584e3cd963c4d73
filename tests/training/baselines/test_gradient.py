"""The gradient-trained codebooks against literal sums over vectors, codes and neighbors."""

import math

import pytest
import torch

from kohonen_tokenizer.training.baselines.gradient import GradientQuantizer
from kohonen_tokenizer.training.baselines.som_vae import SomVaeQuantizer
from kohonen_tokenizer.training.grid import Grid, HexagonalGrid, ToroidalGrid

K, D = 12, 3


def latents_of(*, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, D, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)


def vectors_of(latents):
    return latents.detach().permute(0, 2, 3, 1).reshape(-1, D).tolist()


def nearest(vector, codes):
    return min(range(K), key=lambda k: math.dist(vector, codes[k]))


def test_members_pull_their_code_and_codes_pull_the_encoder():
    torch.manual_seed(0)
    quantizer = GradientQuantizer(Grid((3, 4)), code_dim=D).double()
    latents = latents_of()
    quantized = quantizer(latents)
    vectors, codes = vectors_of(latents), quantizer.codebook.tolist()
    chosen = [nearest(vector, codes) for vector in vectors]
    assert quantized.indices.flatten().tolist() == chosen
    assert quantized.latents.permute(0, 2, 3, 1).reshape(-1, D).tolist() == [
        pytest.approx(codes[k]) for k in chosen
    ]
    error = sum(
        (z - e) ** 2 for v, k in zip(vectors, chosen, strict=True) for z, e in zip(v, codes[k], strict=True)
    )
    assert quantized.codebook_loss.item() == pytest.approx(error / (12 * D), rel=1e-12)
    assert quantized.commitment_loss.item() == pytest.approx(error / (12 * D), rel=1e-12)

    quantized.codebook_loss.backward(retain_graph=True)
    assert latents.grad is None, "the codebook loss must not move the encoder"
    for k in range(K):
        for d in range(D):
            pull = sum(
                codes[k][d] - v[d] for v, chosen_k in zip(vectors, chosen, strict=True) if chosen_k == k
            )
            assert quantizer.codebook.grad[k, d].item() == pytest.approx(2 * pull / (12 * D), abs=1e-12)
    quantizer.codebook.grad = None
    quantized.commitment_loss.backward()
    assert quantizer.codebook.grad is None, "the commitment loss must not move the codes"
    assert latents.grad.abs().sum() > 0


@pytest.mark.parametrize("grid", [Grid((3, 4)), ToroidalGrid((3, 4)), HexagonalGrid((3, 4))])
def test_members_pull_the_neighbors_of_their_code_too(grid):
    torch.manual_seed(0)
    quantizer = SomVaeQuantizer(grid, code_dim=D, neighbor_weight=0.7).double()
    latents = latents_of()
    loss = quantizer(latents).codebook_loss
    vectors, codes = vectors_of(latents), quantizer.codebook.tolist()
    expected, gradient = 0.0, [[0.0] * D for _ in range(K)]
    for vector in vectors:
        winner = nearest(vector, codes)
        for k in range(K):
            weight = 1.0 if k == winner else 0.7 if abs(grid.distances()[winner, k] - 1) < 1e-9 else 0.0
            expected += weight * math.dist(vector, codes[k]) ** 2 / (12 * D)
            for d in range(D):
                gradient[k][d] += weight * 2 * (codes[k][d] - vector[d]) / (12 * D)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    loss.backward()
    assert torch.allclose(quantizer.codebook.grad, torch.tensor(gradient, dtype=torch.float64), atol=1e-12)
    assert latents.grad is None


def test_without_a_weight_the_som_vae_is_the_gradient_codebook():
    torch.manual_seed(0)
    som_vae = SomVaeQuantizer(Grid((3, 4)), code_dim=D, neighbor_weight=0).double()
    plain = GradientQuantizer(Grid((3, 4)), code_dim=D).double()
    plain.replace_codebook(som_vae.codebook)
    assert som_vae(latents_of()).codebook_loss.item() == plain(latents_of()).codebook_loss.item()


def test_a_negative_weight_is_an_error():
    with pytest.raises(ValueError, match="neighbor_weight -1"):
        SomVaeQuantizer(Grid((3, 4)), code_dim=D, neighbor_weight=-1)
