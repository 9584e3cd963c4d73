"""Checkpoints of other maps and other quantizers than the paper's."""

import dataclasses

import numpy as np
import pytest
import torch

from kohonen_tokenizer.export.bundle import export_bundle
from kohonen_tokenizer.export.errors import BundleRefusedError
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer
from kohonen_tokenizer.training.checkpoint import load_checkpoint
from kohonen_tokenizer.training.data import load_splits
from kohonen_tokenizer.training.grid import HexagonalGrid
from kohonen_tokenizer.training.trainer import Trainer


@pytest.fixture
def train(checkpoint, data_folder, tmp_path):
    """A short run of the small model with other values for its quantizer."""

    def run(**values):
        quantizer = dataclasses.replace(checkpoint.config.model.quantizer, **values)
        model = dataclasses.replace(checkpoint.config.model, quantizer=quantizer)
        config = dataclasses.replace(checkpoint.config, model=model)
        trainer = Trainer(config, load_splits(config.data, data_folder), device=torch.device("cpu"))
        for _ in range(5):
            trainer.step()
        trainer.save(tmp_path / "checkpoints")
        return load_checkpoint(tmp_path)

    return run


def test_a_gradient_trained_map_of_hexagons_is_served_as_one(train, test_images, card, tmp_path):
    checkpoint = train(method="gradient", map_topology="hexagonal")
    exported = export_bundle(checkpoint, tmp_path / "bundle", images=test_images, card=card)
    tokenizer = Tokenizer.load(exported.folder, num_threads=1)
    assert tokenizer.levels.choose().level.map_topology == "hexagonal"
    near = {neighbor.token for neighbor in tokenizer.neighbors(5)}
    assert near == set(HexagonalGrid((3, 4)).adjacency()[5].nonzero().flatten().tolist())
    with torch.no_grad():
        expected = checkpoint.model().encode(test_images[:4])["tokens"]
    assert np.array_equal(tokenizer.encode(test_images[:4].numpy()), expected.numpy())


def test_residual_codes_are_refused_in_one_line(train, test_images, card, tmp_path):
    checkpoint = train(method="residual", num_stages=3)
    with pytest.raises(BundleRefusedError, match="3 codes of residual quantization") as caught:
        export_bundle(checkpoint, tmp_path / "bundle", images=test_images, card=card)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bundle").exists()
