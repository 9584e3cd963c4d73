"""The parts of the study that a wrong result could hide in."""

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed; pip install '.[examples]'")

from examples.downstream.methods import CellHead, MapEmbedding
from examples.downstream.token_sets import permuted
from examples.prior.baselines import bigram_bits, unigram_bits
from examples.prior.token_dataset import TokenDataset

COORDINATES = torch.tensor([(x, y) for y in range(4) for x in range(6)])


def dataset(tokens: np.ndarray) -> TokenDataset:
    ids = tuple(map(str, range(len(tokens))))
    return TokenDataset(
        tokens=tokens.reshape(len(tokens), -1).astype(np.uint16),
        ids=ids,
        codebook_size=24,
        latent_grid=(4, 4),
    )


def test_coarse_to_fine_gives_probabilities_and_each_cell_the_sum_of_its_codes() -> None:
    torch.manual_seed(0)
    head = CellHead(COORDINATES, dim=8, cell_shape=(2, 3))
    hidden = torch.randn(5, 8)
    probabilities = head(hidden).exp()
    torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(5))
    # The cell in the second row and first column of cells: rows 2 and 3, columns 0 to 2.
    codes = [k for k, (x, y) in enumerate(COORDINATES.tolist()) if y >= 2 and x < 3]
    cell = head.coarse(hidden).softmax(dim=-1)[:, 2]
    torch.testing.assert_close(probabilities[:, codes].sum(dim=-1), cell)


def test_cells_that_do_not_fill_the_map_are_refused() -> None:
    with pytest.raises(ValueError, match="take divisors"):
        CellHead(COORDINATES, dim=8, cell_shape=(3, 3))


def test_map_embedding_is_a_sum_of_column_and_row() -> None:
    embedding = MapEmbedding(COORDINATES, dim=8)
    columns, rows = (axis.weight for axis in embedding.axes)
    torch.testing.assert_close(embedding(torch.tensor([[8]]))[0, 0], columns[2] + rows[1])
    # The start symbol.
    torch.testing.assert_close(embedding(torch.tensor([24]))[0], columns[6] + rows[4])


def test_a_permutation_is_seen_by_no_count() -> None:
    tokens = np.random.default_rng(0).integers(0, 24, size=(60, 4, 4))
    images = dataset(tokens)
    renamed = permuted(images, seed=1)
    assert (renamed.tokens != images.tokens).any()
    for bits in (unigram_bits, bigram_bits):
        original, after = (bits(*either.split(num_held_out=20)) for either in (images, renamed))
        assert original == pytest.approx(after)


def test_the_bigram_uses_both_neighbors() -> None:
    rng = np.random.default_rng(0)
    # Rows that repeat one code, then columns that do: only one of the two neighbors tells anything.
    rows = np.broadcast_to(rng.integers(0, 24, size=(400, 4, 1)), (400, 4, 4))
    for tokens in (rows, rows.swapaxes(1, 2)):
        train, held_out = dataset(tokens).split(num_held_out=50)
        assert bigram_bits(train, held_out) < unigram_bits(train, held_out) - 0.5
