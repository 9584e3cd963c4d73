"""The quantizer against a literal float64 reading of Eqs. 12-21, and against the classical forms."""

import math

import pytest
import torch

from kohonen_tokenizer.training.classic import batch_step
from kohonen_tokenizer.training.grid import Grid
from kohonen_tokenizer.training.neighborhood import (
    GaussianNeighborhood,
    HardNeighborhood,
    NoNeighborhood,
    WideGaussianNeighborhood,
)
from kohonen_tokenizer.training.quantizer import (
    KohonenQuantizer,
    assignment_sums,
    nearest_codes,
    perplexity,
    relative_distances,
)

SHAPE = (3, 4)
K, D = 12, 5


def make_quantizer(neighborhood, *, dtype=torch.float64, seed=0, **options):
    torch.manual_seed(seed)
    quantizer = KohonenQuantizer(Grid(SHAPE), code_dim=D, neighborhood=neighborhood, **options).to(dtype)
    quantizer.grid_distances = Grid(SHAPE).distances().to(dtype)
    return quantizer


def make_latents(*, seed, batch=4, height=2, width=3, dtype=torch.float64):
    return torch.randn(batch, D, height, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def rows_of(latents):
    """The vectors of latents [B, D, h, w] as lists, image by image and row by row."""
    batch, _, height, width = latents.shape
    return [latents[b, :, y, x].tolist() for b in range(batch) for y in range(height) for x in range(width)]


class LiteralQuantizer:
    """Eqs. 12, 19-21 in loops over scalars, with the additive smoothing of section 3.3 stored back."""

    def __init__(self, codebook, coefficient, *, decay, epsilon, initial_count, update_unused):
        self.w = [row[:] for row in codebook]
        self.m = [row[:] for row in codebook]
        self.n = [float(initial_count)] * len(codebook)
        self.coefficient = coefficient
        self.beta = 1 - decay
        self.epsilon = epsilon
        self.update_unused = update_unused
        self.t = 0

    def step(self, vectors):
        size, dim = len(self.w), len(self.w[0])
        chosen = []
        for e in vectors:
            squared = [sum((e[d] - w[d]) ** 2 for d in range(dim)) for w in self.w]
            chosen.append(squared.index(min(squared)))
        columns = SHAPE[1]
        for k in range(size):
            m_sum, n_sum = [0.0] * dim, 0.0
            for j in range(size):
                a = self.coefficient(
                    math.dist((j % columns, j // columns), (k % columns, k // columns)), self.t
                )
                for i, winner in enumerate(chosen):
                    if winner == j:
                        n_sum += a
                        for d in range(dim):
                            m_sum[d] += a * vectors[i][d]
            if not self.update_unused and n_sum == 0:
                continue
            for d in range(dim):
                self.m[k][d] = (1 - self.beta) * self.m[k][d] + self.beta * m_sum[d]
            self.n[k] = (1 - self.beta) * self.n[k] + self.beta * n_sum
            if not self.update_unused:
                self.w[k] = [self.m[k][d] / self.n[k] for d in range(dim)]
        if self.update_unused:
            total = sum(self.n)
            self.n = [(n + self.epsilon) / (total + size * self.epsilon) * total for n in self.n]
            self.w = [[m / n for m in row] for row, n in zip(self.m, self.n, strict=True)]
        self.t += 1
        return chosen


COEFFICIENTS = {
    "none": (NoNeighborhood(), lambda distance, t: float(distance == 0)),
    "hard": (
        HardNeighborhood(0.1),
        lambda distance, t: 1.0 if distance == 0 else (1 / (1 + t * 0.1) if distance < 1.5 else 0.0),
    ),
    "gaussian": (GaussianNeighborhood(0.1), lambda distance, t: math.exp(-(distance**2) * (1 + t * 0.1))),
    "gaussian_wide": (
        WideGaussianNeighborhood(0.1),
        lambda distance, t: math.exp(-distance * (1 + t * 0.1) / 10),
    ),
}


@pytest.mark.parametrize("kind", COEFFICIENTS)
@pytest.mark.parametrize("initial_count", [0, 1])
@pytest.mark.parametrize("update_unused", [True, False])
def test_updates_equal_the_literal_equations(kind, initial_count, update_unused):
    neighborhood, coefficient = COEFFICIENTS[kind]
    options = {"decay": 0.9, "epsilon": 1e-5, "initial_count": initial_count, "update_unused": update_unused}
    quantizer = make_quantizer(neighborhood, **options)
    literal = LiteralQuantizer(quantizer.codebook.tolist(), coefficient, **options)
    for seed in range(6):
        latents = make_latents(seed=seed, batch=1)
        result = quantizer(latents)
        assert result.indices.flatten().tolist() == literal.step(rows_of(latents))
        torch.testing.assert_close(quantizer.codebook, torch.tensor(literal.w, dtype=torch.float64))
        torch.testing.assert_close(quantizer.ema_sums, torch.tensor(literal.m, dtype=torch.float64))
        torch.testing.assert_close(quantizer.ema_counts, torch.tensor(literal.n, dtype=torch.float64))
    assert quantizer.step.item() == 6


@pytest.mark.parametrize("neighborhood", [NoNeighborhood(), HardNeighborhood(0.1), GaussianNeighborhood(0.1)])
def test_with_decay_0_one_batch_is_the_batch_form(neighborhood):
    quantizer = make_quantizer(neighborhood, decay=0.0, update_unused=False)
    before = quantizer.codebook.clone()
    latents = make_latents(seed=1)
    vectors = latents.permute(0, 2, 3, 1).reshape(-1, D)
    A = neighborhood.matrix(Grid(SHAPE).distances(), torch.tensor(0))
    quantizer(latents)
    expected = batch_step(before, vectors, neighborhood=A)
    assert not torch.equal(quantizer.codebook, before)
    if isinstance(neighborhood, NoNeighborhood):
        assert torch.equal(quantizer.codebook, expected), "K-means, bit for bit"
    else:  # a product with A of one column more may add in another order
        torch.testing.assert_close(quantizer.codebook, expected, rtol=1e-13, atol=1e-14)


def test_without_neighborhood_it_is_ema_vq_bit_for_bit():
    """Eqs. 16-18 as they stand, on the same sums: the identity must add nothing."""
    quantizer = make_quantizer(NoNeighborhood(), dtype=torch.float32)
    m, n, w = quantizer.codebook.clone(), torch.ones(K), quantizer.codebook.clone()
    for seed in range(5):
        latents = make_latents(seed=seed, dtype=torch.float32)
        vectors = latents.permute(0, 2, 3, 1).reshape(-1, D)
        members = assignment_sums(vectors, nearest_codes(vectors, w), K)
        m = m.lerp(members[:, :-1], 1 - 0.99)
        n = n.lerp(members[:, -1], 1 - 0.99)
        n = (n + 1e-5) * (n.sum() / (n.sum() + K * 1e-5))
        w = m / n[:, None]
        quantizer(latents)
        assert torch.equal(quantizer.codebook, w)
        assert torch.equal(quantizer.ema_counts, n)


def test_neighborhood_on_sums_equals_neighborhood_on_assignments():
    """(E A)^T X = A^T (E^T X): what the module rests on."""
    vectors = torch.randn(200, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    indices = torch.randint(0, K, (200,), generator=torch.Generator().manual_seed(1))
    A = HardNeighborhood(0.1).matrix(Grid(SHAPE).distances(), torch.tensor(7))
    one_hot = torch.nn.functional.one_hot(indices, K).double()
    torch.testing.assert_close(A.T @ assignment_sums(vectors, indices, K)[:, :-1], (one_hot @ A).T @ vectors)


def test_nearest_codes_are_nearest(monkeypatch):
    vectors = torch.randn(300, D, generator=torch.Generator().manual_seed(0))
    codebook = torch.randn(K, D, generator=torch.Generator().manual_seed(1))
    literal = [
        min(
            range(K),
            key=lambda k, x=x: sum((a - b) ** 2 for a, b in zip(x, codebook[k].tolist(), strict=True)),
        )
        for x in vectors.tolist()
    ]
    assert nearest_codes(vectors, codebook).tolist() == literal
    monkeypatch.setattr("kohonen_tokenizer.training.quantizer.CPU_SEARCH_ROWS", 7)
    assert nearest_codes(vectors, codebook).tolist() == literal, "in chunks"
    squared = relative_distances(vectors, codebook) + vectors.square().sum(1, keepdim=True)
    torch.testing.assert_close(squared, torch.cdist(vectors, codebook).square(), rtol=1e-4, atol=1e-4)


def test_search_stays_in_fp32_under_autocast():
    """A smooth codebook with close neighbors: a bf16 product would choose other codes."""
    codebook = torch.linspace(-0.5, 0.5, 512)[:, None] * torch.ones(1, 64)
    vectors = codebook[torch.arange(0, 512, 7)] + 1e-4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nearest_codes(vectors, codebook).tolist() == list(range(0, 512, 7))
        lossy = relative_distances(vectors, codebook).argmin(1)
    assert lossy.tolist() != list(range(0, 512, 7)), "the guard would be pointless if bf16 gave the same"


def test_updates_stay_in_fp32_under_autocast():
    """A bf16 product with the neighborhood would round sums to 8 bits."""
    quantizer, exact = (make_quantizer(HardNeighborhood(0.1), dtype=torch.float32) for _ in range(2))
    latents = make_latents(seed=3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quantizer(latents)
    exact(latents)
    assert torch.equal(quantizer.codebook, exact.codebook)


def test_totals_of_all_that_train_together_are_what_is_learnt_from():
    """Two halves of a batch, each told the sum of both, learn what one quantizer learns from all of it."""
    whole, half = (make_quantizer(HardNeighborhood(0.1)) for _ in range(2))
    latents = make_latents(seed=3)
    vectors = latents[2:].permute(0, 2, 3, 1).reshape(-1, D)
    others = assignment_sums(vectors, nearest_codes(vectors, half.codebook), K)
    half.sum_over_ranks = lambda totals: totals.add_(others)
    result = half(latents[:2])
    assert result.perplexity.item() == pytest.approx(whole(latents).perplexity.item())
    torch.testing.assert_close(half.codebook, whole.codebook)
    half.eval().sum_over_ranks = None  # a collective here would wait for ranks with fewer images
    half(latents[:2])


def test_gradient_goes_straight_through():
    quantizer = make_quantizer(HardNeighborhood(0.1))
    latents = make_latents(seed=3).requires_grad_()
    weights = make_latents(seed=4)
    result = quantizer(latents)
    (result.latents * weights).sum().backward()
    assert torch.equal(latents.grad, weights)


def test_quantized_latents_are_the_old_codebook_and_commitment_is_their_mean_square():
    quantizer = make_quantizer(HardNeighborhood(0.1))
    before = quantizer.codebook.clone()
    latents = make_latents(seed=3).requires_grad_()
    result = quantizer(latents)
    codes = before[result.indices].permute(0, 3, 1, 2)
    torch.testing.assert_close(result.latents.detach(), codes)
    expected = sum(
        (a - b) ** 2 for a, b in zip(codes.flatten().tolist(), latents.flatten().tolist(), strict=True)
    )
    assert result.commitment_loss.item() == pytest.approx(expected / latents.numel())
    result.commitment_loss.backward()
    torch.testing.assert_close(latents.grad, 2 * (latents.detach() - codes) / latents.numel())
    assert not torch.equal(quantizer.codebook, before)


def test_eval_mode_changes_nothing():
    quantizer = make_quantizer(HardNeighborhood(0.1)).eval()
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    quantizer(make_latents(seed=3))
    assert all(torch.equal(before[name], tensor) for name, tensor in quantizer.state_dict().items())


def test_without_update_of_unused_codes_the_unreached_keep_everything():
    quantizer = make_quantizer(HardNeighborhood(0.1), update_unused=False)
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    one_vector = before["codebook"][0].view(1, D, 1, 1).expand(1, D, 2, 2)
    quantizer(one_vector)
    reached = (Grid(SHAPE).distances()[0] <= 1.5).tolist()
    for code in range(K):
        for name in ("codebook", "ema_sums", "ema_counts"):
            unchanged = torch.equal(before[name][code], quantizer.state_dict()[name][code])
            # The winner's own mean is the vector itself, so its codebook entry may stay equal.
            assert unchanged is not reached[code] or (name == "codebook" and code == 0)


def test_initial_count_0_plateau_is_bounded_by_the_stored_smoothing():
    """Counts near epsilon magnify unused codes by 1/epsilon at step 1; they recover in some hundred steps."""
    quantizer = make_quantizer(NoNeighborhood(), initial_count=0)
    start = quantizer.codebook.clone()
    latents = start[0].view(1, D, 1, 1).expand(64, D, 2, 2)
    quantizer(latents)
    magnified = (quantizer.codebook[1:].norm(dim=1) / start[1:].norm(dim=1)).mean()
    assert 5e4 < magnified < 2e5
    for _ in range(800):
        quantizer(latents)
    recovered = (quantizer.codebook[1:].norm(dim=1) / start[1:].norm(dim=1)).mean()
    assert recovered < 2


def test_state_is_all_in_buffers():
    quantizer = make_quantizer(HardNeighborhood(0.1))
    assert set(quantizer.state_dict()) == {"codebook", "ema_sums", "ema_counts", "step"}
    assert list(quantizer.parameters()) == []
    assert quantizer.step.dtype == torch.int64


def test_perplexity_is_exp_of_entropy():
    counts = torch.tensor([4.0, 2.0, 2.0, 0.0])
    assert perplexity(counts).item() == pytest.approx(
        math.exp(-sum(p * math.log(p) for p in (0.5, 0.25, 0.25)))
    )
    assert perplexity(torch.ones(512)).item() == pytest.approx(512, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.0}, "decay 1.0"),
        ({"decay": -0.1}, "decay -0.1"),
        ({"epsilon": -1e-5}, "epsilon"),
        ({"initial_count": -1}, "initial_count -1"),
        ({"epsilon": math.nan}, "epsilon nan"),
        ({"initial_count": math.inf}, "initial_count inf"),
        ({"epsilon": 0, "initial_count": 0}, "epsilon 0: with initial_count 0"),
    ],
)
def test_values_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        make_quantizer(NoNeighborhood(), **options)
