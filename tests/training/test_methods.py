"""Every quantizer that a config can name, through training, checkpoint and evaluation on real images."""

import dataclasses
import math

import pytest
import torch

from kohonen_tokenizer.training.checkpoint import load_checkpoint
from kohonen_tokenizer.training.config import RunConfig
from kohonen_tokenizer.training.data import load_splits
from kohonen_tokenizer.training.errors import ConfigError
from kohonen_tokenizer.training.evaluation import evaluate
from kohonen_tokenizer.training.trainer import Trainer

CPU = torch.device("cpu")


def with_quantizer(config, **values) -> RunConfig:
    quantizer = dataclasses.replace(config.model.quantizer, **values)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, quantizer=quantizer))


@pytest.fixture
def images(photo_folder, small_config):
    return load_splits(small_config.data, photo_folder)


@pytest.mark.parametrize(
    "values",
    [
        {"map_topology": "toroidal"},
        {"map_topology": "hexagonal"},
        {"min_members": 0.1, "map_topology": "hexagonal"},
        {"method": "residual", "num_stages": 3},
        {"method": "gradient", "initialization": "k_means"},
        {"method": "som_vae", "map_topology": "toroidal", "initialization": "first_batch"},
        {"method": "softmax", "anneal_steps": 20},
    ],
    ids=lambda values: "-".join(str(value) for value in values.values()),
)
def test_it_trains_and_is_the_same_after_a_checkpoint(images, small_config, tmp_path, values):
    config = with_quantizer(small_config, **values)
    trainer = Trainer(config, images, device=CPU)
    start = trainer.model.quantizer.codebook.detach().clone()
    # Ten steps see each image once.
    losses = [trainer.step().reconstruction_loss.item() for _ in range(60)]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    validation = trainer.validate()
    assert not torch.equal(trainer.model.quantizer.codebook, start)
    trainer.save(tmp_path / "checkpoints")
    resumed = Trainer(config, images, device=CPU)
    resumed.restore(load_checkpoint(tmp_path))
    assert resumed.step().reconstruction_loss.item() == trainer.step().reconstruction_loss.item()

    evaluation = evaluate(load_checkpoint(tmp_path), images.validation, split="validation", device=CPU)
    assert evaluation.loss == pytest.approx(validation.loss, rel=1e-4)
    level = evaluation.levels["tokens"]
    assert 0 < level.map.topographic_error_8 <= 1
    assert level.topographic_product is not None
    assert math.isfinite(level.topographic_product)


@pytest.mark.parametrize("initialization", ["first_batch", "k_means"])
@pytest.mark.parametrize("method", ["kohonen", "gradient", "residual"])
def test_codes_from_the_first_batch_quantize_it_better(images, small_config, initialization, method):
    first = {}
    for name in ("normal", initialization):
        config = with_quantizer(small_config, method=method, initialization=name)
        trainer = Trainer(config, images, device=CPU)
        first[name] = trainer.step().commitment_loss.item()
        assert trainer.step_count == 1
    assert first[initialization] < 0.5 * first["normal"]


def test_a_resumed_run_does_not_start_its_codebook_anew(images, small_config, tmp_path):
    config = with_quantizer(small_config, initialization="k_means")
    trainer = Trainer(config, images, device=CPU)
    trainer.step()
    trainer.save(tmp_path / "checkpoints")
    resumed = Trainer(config, images, device=CPU)
    resumed.restore(load_checkpoint(tmp_path))
    resumed.step()
    trainer.step()
    assert torch.equal(resumed.model.quantizer.codebook, trainer.model.quantizer.codebook)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"map_topology": "hexagonal", "map_shape": (32,)}, "model.quantizer: .* hexagonal map has 2 sides"),
        ({"method": "residual", "num_stages": 1}, "num_stages 1: must be at least 2"),
        ({"method": "som_vae", "neighbor_weight": -1.0}, "neighbor_weight -1.0"),
        ({"method": "softmax", "temperature": (1.0, 2.0)}, "temperature 1.0 to 2.0"),
        ({"min_members": 2.0}, "min_members 2.0"),
        ({"min_members": -2.0}, "min_members -2.0"),
    ],
)
def test_values_that_do_not_fit_are_one_line(images, small_config, values, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        Trainer(with_quantizer(small_config, **values), images, device=CPU)
    assert "\n" not in str(caught.value)
