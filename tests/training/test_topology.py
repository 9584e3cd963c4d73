"""The quality measures of a map against literal loops written from their definitions, and MiniSom."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
import pytest
import torch
from minisom import MiniSom
from sklearn.datasets import load_sample_images
from torch import Tensor

from kohonen_tokenizer.training import topology
from kohonen_tokenizer.training.classic import batch_step
from kohonen_tokenizer.training.grid import Connectivity, Grid, HexagonalGrid, ToroidalGrid
from kohonen_tokenizer.training.map_order import u_matrix
from kohonen_tokenizer.training.topology import (
    CodebookUsage,
    codebook_usage,
    distortion,
    map_quality,
    quantization_error,
    topographic_error,
    topographic_error_null,
    two_best_units,
)

CONNECTIVITIES: tuple[Connectivity, ...] = (4, 8)


@dataclass(frozen=True)
class Map:
    """A map with inputs to judge it by."""

    grid: Grid
    codebook: Tensor
    inputs: Tensor

    @property
    def coordinates(self) -> Tensor:
        return self.grid.coordinates()

    def minisom(self) -> MiniSom:
        """The same map as MiniSom's, whose two indices are our row and column."""
        rows, columns = self.grid.shape
        som = MiniSom(rows, columns, self.codebook.shape[1], random_seed=0)
        som._weights = self.codebook.numpy().reshape(rows, columns, -1)
        return som


@pytest.fixture(scope="module")
def photograph_map() -> Map:
    """A 6 by 8 map of 2 by 2 pixels of real photographs, ordered by the batch algorithm."""
    generator = torch.Generator().manual_seed(0)
    patches = torch.cat(
        [
            torch.from_numpy(np.array(image)).unfold(0, 2, 53).unfold(1, 2, 53).reshape(-1, 12)
            for image in load_sample_images().images
        ]
    )
    inputs = patches.double() / 255
    grid = Grid((6, 8))
    codebook = inputs[torch.randperm(len(inputs), generator=generator)[: grid.size]]
    for sigma in (4.0, 3.0, 2.0, 1.5, 1.0, 0.8, 0.6):
        neighborhood = torch.exp(-grid.distances().square() / (2 * sigma**2))
        codebook = batch_step(codebook, inputs, neighborhood=neighborhood)
    return Map(grid=grid, codebook=codebook, inputs=inputs)


@pytest.fixture(params=[(5, 4), (20,)], ids=["plane", "line"])
def random_map(request: pytest.FixtureRequest) -> Map:
    """A map without any order, float32 as in training."""
    generator = torch.Generator().manual_seed(7)
    grid = Grid(request.param)
    return Map(
        grid=grid,
        codebook=torch.randn(grid.size, 3, generator=generator),
        inputs=torch.randn(60, 3, generator=generator),
    )


def literal_order(x: list[float], codebook: list[list[float]]) -> list[int]:
    """Units from the nearest to the farthest."""
    return sorted(range(len(codebook)), key=lambda k: (math.dist(x, codebook[k]), k))


def literal_adjacent(a: list[int], b: list[int], connectivity: Connectivity) -> bool:
    steps = [abs(p - q) for p, q in zip(a, b, strict=True)]
    return (max(steps) if connectivity == 8 else sum(steps)) == 1


def test_two_best_units_follow_the_definition(random_map: Map) -> None:
    codebook = random_map.codebook.tolist()
    expected = [literal_order(x, codebook)[:2] for x in random_map.inputs.tolist()]
    assert two_best_units(random_map.inputs, random_map.codebook).tolist() == expected


def test_of_equally_near_units_the_lowest_comes_first() -> None:
    codebook = torch.tensor([[5.0], [1.0], [-1.0], [1.0]])
    assert two_best_units(torch.tensor([[0.0], [1.0], [5.0]]), codebook).tolist() == [[1, 2], [1, 3], [0, 1]]


def test_autocast_does_not_blur_the_search() -> None:
    """Codes that bfloat16 cannot tell apart."""
    codebook = 1 + torch.arange(100)[:, None] * 1e-4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert two_best_units(codebook, codebook)[:, 0].tolist() == list(range(100))


def test_quantization_error_follows_the_definition(random_map: Map) -> None:
    codebook = random_map.codebook.tolist()
    expected = fmean(min(math.dist(x, w) for w in codebook) for x in random_map.inputs.tolist())
    assert quantization_error(random_map.inputs, random_map.codebook) == pytest.approx(expected, rel=1e-12)


def test_quantization_error_of_the_codes_themselves_is_exactly_zero() -> None:
    codebook = 1e4 + torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    assert quantization_error(codebook, codebook) == 0


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_topographic_error_follows_the_definition(random_map: Map, connectivity: Connectivity) -> None:
    codebook, coordinates = random_map.codebook.tolist(), random_map.coordinates.tolist()
    apart = 0
    for x in random_map.inputs.tolist():
        first, second = literal_order(x, codebook)[:2]
        apart += not literal_adjacent(coordinates[first], coordinates[second], connectivity)
    actual = topographic_error(
        random_map.inputs, random_map.codebook, random_map.grid, connectivity=connectivity
    )
    assert 0 < apart < 60
    assert actual == pytest.approx(apart / 60, rel=1e-12)


def test_quantization_and_topographic_error_equal_minisoms(photograph_map: Map) -> None:
    inputs, som = photograph_map.inputs, photograph_map.minisom()
    quality = map_quality(inputs, photograph_map.codebook, photograph_map.grid)
    assert quality.quantization_error == pytest.approx(som.quantization_error(inputs.numpy()), rel=1e-9)
    assert quality.topographic_error_8 == pytest.approx(som.topographic_error(inputs.numpy()), rel=1e-12)
    assert 0 < quality.topographic_error_8 < 0.5 * quality.topographic_error_8_null


def test_map_quality_gathers_the_single_measures(random_map: Map) -> None:
    inputs, codebook, grid = random_map.inputs, random_map.codebook, random_map.grid
    quality = map_quality(inputs, codebook, grid)
    assert quality.quantization_error == quantization_error(inputs, codebook)
    assert quality.topographic_error_8 == topographic_error(inputs, codebook, grid, connectivity=8)
    assert quality.topographic_error_4 == topographic_error(inputs, codebook, grid, connectivity=4)
    assert quality.topographic_error_8_null == topographic_error_null(grid, connectivity=8)
    assert quality.topographic_error_4_null == topographic_error_null(grid, connectivity=4)


def test_chunks_do_not_change_the_measures(random_map: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    neighborhood = torch.exp(-random_map.grid.distances())

    def measures() -> list[float]:
        quality = map_quality(random_map.inputs, random_map.codebook, random_map.grid)
        energy = distortion(random_map.inputs, random_map.codebook, neighborhood=neighborhood)
        return [quality.quantization_error, quality.topographic_error_8, quality.topographic_error_4, energy]

    whole = measures()
    monkeypatch.setattr(topology, "CHUNK_SIZE", 7)
    assert measures() == pytest.approx(whole, rel=1e-12)


def test_null_of_the_papers_map() -> None:
    """16 by 32 units have 2 (16 * 31 + 15 * 32) edge and 4 * 15 * 31 corner neighbors in all."""
    grid = Grid((16, 32))
    edges, corners = 2 * (16 * 31 + 15 * 32), 4 * 15 * 31
    expected_8 = 1 - (edges + corners) / 512 / 511
    assert topographic_error_null(grid, connectivity=8) == pytest.approx(expected_8, rel=1e-12)
    assert topographic_error_null(grid, connectivity=8) == pytest.approx(0.985, abs=5e-4)
    assert topographic_error_null(grid, connectivity=4) == pytest.approx(1 - edges / 512 / 511, rel=1e-12)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_null_is_the_mean_over_permutations_of_a_real_map(
    photograph_map: Map, connectivity: Connectivity
) -> None:
    generator = torch.Generator().manual_seed(1)
    errors = []
    for _ in range(400):
        shuffled = photograph_map.codebook[torch.randperm(48, generator=generator)]
        errors.append(
            topographic_error(
                photograph_map.inputs[::4], shuffled, photograph_map.grid, connectivity=connectivity
            )
        )
    null = topographic_error_null(photograph_map.grid, connectivity=connectivity)
    assert abs(fmean(errors) - null) < 4 * stdev(errors) / math.sqrt(len(errors))


def test_distortion_follows_the_definition(random_map: Map) -> None:
    size = random_map.grid.size
    neighborhood = torch.rand(size, size, generator=torch.Generator().manual_seed(3))
    h, codebook = neighborhood.tolist(), random_map.codebook.tolist()
    energies = []
    for x in random_map.inputs.tolist():
        best = literal_order(x, codebook)[0]
        energies.append(sum(h[best][k] * math.dist(x, codebook[k]) ** 2 for k in range(size)))
    actual = distortion(random_map.inputs, random_map.codebook, neighborhood=neighborhood)
    assert actual == pytest.approx(fmean(energies), rel=1e-12)


def test_distortion_of_codes_far_from_the_origin_is_not_negative() -> None:
    """There the expanded square |x|^2 - 2 x.w + |w|^2 falls below 0 by rounding for some codes."""
    codebook = 1e6 + torch.randn(30, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own_share = [distortion(code[None], codebook, neighborhood=torch.eye(30)) for code in codebook]
    assert min(own_share) >= 0
    assert max(own_share) < 0.1


def test_codebook_usage_follows_the_definition() -> None:
    tokens = torch.tensor([[[0, 0], [0, 0]], [[3, 3], [5, 7]]], dtype=torch.int32)
    usage = codebook_usage(tokens, codebook_size=10)
    entropy = -sum(p * math.log(p) for p in (4 / 8, 2 / 8, 1 / 8, 1 / 8))
    assert usage.used_share == pytest.approx(0.4)
    assert usage.perplexity == pytest.approx(math.exp(entropy), rel=1e-12)


def test_codebook_usage_at_its_ends() -> None:
    one = codebook_usage(torch.full((9,), 2), codebook_size=4)
    assert one == CodebookUsage(used_share=0.25, perplexity=1.0)
    evenly = codebook_usage(torch.arange(512).repeat(3), codebook_size=512)
    assert evenly.used_share == 1
    assert evenly.perplexity == pytest.approx(512, rel=1e-12)


def test_u_matrix_follows_the_definition(random_map: Map) -> None:
    codebook, coordinates = random_map.codebook.tolist(), random_map.coordinates.tolist()
    expected = [
        fmean(
            math.dist(codebook[i], codebook[j])
            for j in range(len(codebook))
            if literal_adjacent(coordinates[i], coordinates[j], 8)
        )
        for i in range(len(codebook))
    ]
    assert u_matrix(random_map.codebook, random_map.grid).tolist() == pytest.approx(expected, rel=1e-12)


def test_u_matrix_over_its_maximum_is_minisoms_distance_map(photograph_map: Map) -> None:
    ours = u_matrix(photograph_map.codebook, photograph_map.grid).reshape(photograph_map.grid.shape)
    expected = photograph_map.minisom().distance_map(scaling="mean")
    torch.testing.assert_close(ours / ours.max(), torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


def test_what_cannot_be_measured_is_refused(random_map: Map) -> None:
    inputs, codebook, grid = random_map.inputs, random_map.codebook, random_map.grid
    with pytest.raises(ValueError, match="0 inputs"):
        map_quality(inputs[:0], codebook, grid)
    with pytest.raises(ValueError, match="0 inputs"):
        distortion(inputs[:0], codebook, neighborhood=torch.eye(20))
    with pytest.raises(ValueError, match="codebook_size 1"):
        quantization_error(inputs, codebook[:1])
    with pytest.raises(ValueError, match="map of size 1"):
        topographic_error_null(Grid((1,)), connectivity=8)
    with pytest.raises(ValueError, match="connectivity 6: use 8 or 4"):
        topographic_error(inputs, codebook, grid, connectivity=6)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 tokens"):
        codebook_usage(torch.zeros(0, dtype=torch.int64), codebook_size=4)
    for token in (-1, 4):
        with pytest.raises(ValueError, match="a codebook of 4 has 0 to 3"):
            codebook_usage(torch.tensor([1, token]), codebook_size=4)


@pytest.mark.parametrize("grid", [ToroidalGrid((4, 5)), HexagonalGrid((4, 5))])
@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_topographic_error_on_maps_of_other_topologies(
    grid: Grid, connectivity: Connectivity, random_map: Map
) -> None:
    codebook, distances = random_map.codebook.tolist(), grid.distances().tolist()
    # Hexagons that touch are 1 apart; of squares, those that share an edge are, and by a corner sqrt(2).
    reach = 1.1 if connectivity == 4 or isinstance(grid, HexagonalGrid) else 1.5
    apart = [
        distances[first][second] > reach
        for first, second in (literal_order(x, codebook)[:2] for x in random_map.inputs.tolist())
    ]
    actual = topographic_error(random_map.inputs, random_map.codebook, grid, connectivity=connectivity)
    assert 0 < sum(apart) < 60
    assert actual == pytest.approx(fmean(apart), rel=1e-12)


def test_null_of_a_torus_and_of_hexagons() -> None:
    assert topographic_error_null(ToroidalGrid((4, 5)), connectivity=8) == pytest.approx(1 - 8 / 19)
    # A 2 by 3 map of hexagons has 2 + 2 pairs in its rows and 5 between them.
    assert topographic_error_null(HexagonalGrid((2, 3)), connectivity=8) == pytest.approx(1 - 2 * 9 / 30)
