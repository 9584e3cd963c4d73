import dataclasses
import json

import pytest

from kohonen_tokenizer.training.build import build_model
from kohonen_tokenizer.training.cli import RECIPES, find_recipe
from kohonen_tokenizer.training.config import ModelConfig, OptimizerConfig, RunConfig
from kohonen_tokenizer.training.errors import ConfigError
from kohonen_tokenizer.training.quantizer_config import QuantizerConfig


def test_config_survives_json():
    config = RunConfig(steps=7, seed=3)
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("stepz = 3", "stepz"),
        ("steps = 0", "steps 0: must be at least 1"),
        ("steps = 'many'", "steps"),
        ("[model]\nhidden = 7", "hidden 7"),
        ("[model.quantizer]\nneighborhood = 'soft'", "model.quantizer.neighborhood"),
        ("[model.quantizer]\ncodebook_size = 70000", "codebook_size 70000"),
        ("[model.quantizer]\ncodebook_size = 2", "codebook_size 2: must be 3 to"),
        ("steps = '8'", "steps"),
        ("seed = true", "seed"),
        ("seed = -1", "seed -1: must be 0 to"),
        ("[data]\nsplit_seed = 100000000000", "data.split_seed 100000000000"),
        ("[data]\nsource = 'folder'", "data.name is not set"),
        ("name = 'my model'", "name 'my model'"),
        ("[optimizer]\nlearning_rate = inf", "learning_rate"),
        ("[optimizer]\nbetas = [0.9, 1.5]", "betas"),
        ("[optimizer]\nweight_decay = -1.0", "weight_decay -1.0"),
        ("[optimizer]\ncommitment_weight = -1.0", "commitment_weight -1.0"),
        ("[optimizer]\nepsilon = 0.0", "epsilon 0.0"),
        ("[data]\nimage_size = 64", "image_size 64: CIFAR-10 has 32"),
        ("[data]\nvalidation_share = 1.0", "validation_share 1.0"),
        ("[data]\nimage_size = 30", "image_size 30"),
        ("[speed]\nprecision = 'float16'", "speed.precision"),
        ("[speed]\ncudagraphs = true", "speed.cudagraphs"),
        ("steps = ", "not a TOML file"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_key(tmp_path, toml, message):
    path = tmp_path / "run.toml"
    path.write_text(toml)
    with pytest.raises(ConfigError, match=message) as caught:
        RunConfig.from_toml(path)
    assert "run.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        RunConfig.from_toml(tmp_path / "none.toml")


def test_a_longer_run_is_the_same_run_and_another_seed_is_not():
    config = RunConfig()
    assert config.difference(config.with_changes(steps=50_000)) is None
    assert config.difference(config.with_changes(seed=1)) == "seed: 0, not 1"
    assert config.difference(RunConfig.from_dict({"speed": {"compile": True}})) is None
    lossy = RunConfig.from_dict({"speed": {"precision": "bfloat16"}})
    assert config.difference(lossy) == "speed.precision: float32, not bfloat16"
    other = RunConfig.from_dict({"model": {"quantizer": {"neighborhood": "none"}}})
    assert config.difference(other) == "model.quantizer.neighborhood: hard, not none"


def test_defaults_are_the_papers_recipe():
    config = RunConfig()
    assert (config.steps, config.batch_size, config.validation_batch_size) == (30_000, 256, 512)
    assert config.optimizer.learning_rate == 1e-3
    assert config.optimizer.commitment_weight == 0.25
    assert config.model.quantizer == QuantizerConfig(
        codebook_size=512, map_shape=(16, 32), neighborhood="hard", shrink_step=0.1, decay=0.99, epsilon=1e-5
    )


def test_the_topology_first_recipe_shrinks_more_slowly_and_is_the_ksom_one_otherwise():
    ksom = RunConfig.from_toml(find_recipe("cifar10-ksom")).to_dict()
    topology = RunConfig.from_toml(find_recipe("cifar10-topology")).to_dict()
    assert topology["model"]["quantizer"].pop("shrink_step") == 0.01
    assert ksom["model"]["quantizer"].pop("shrink_step") == 0.1
    assert topology | {"name": ksom["name"]} == ksom


@pytest.mark.parametrize(
    "path",
    [*sorted(RECIPES.glob("cifar10-*ema.toml")), *sorted(RECIPES.glob("cifar10-*ksom.toml"))],
    ids=lambda path: path.stem,
)
def test_recipes_for_cifar10_are_the_papers(path):
    config = RunConfig.from_toml(find_recipe(path.stem))
    quantizer = config.model.quantizer
    assert quantizer.neighborhood == ("hard" if "ksom" in path.stem else "none")
    assert config.name == f"cifar10-{'ksom' if 'ksom' in path.stem else 'ema'}-512"
    assert build_model(config.model, seed=config.seed).quantizer.codebook.shape == (512, 64)
    if "jpeg" in path.stem:
        assert (config.steps, config.batch_size, config.data.source) == (8_000, 128, "folder")
    else:
        assert (config.steps, config.batch_size, config.data.source) == (30_000, 256, "cifar10")
    assert config.optimizer == RunConfig().optimizer


@pytest.mark.parametrize(
    ("name", "source", "normalization"),
    [("imagenet-ksom", "imagenet", "imagenet"), ("faces-ksom", "faces", "symmetric")],
)
def test_recipes_for_two_levels_are_the_papers(name, source, normalization):
    config = RunConfig.from_toml(find_recipe(name))
    assert (config.steps, config.batch_size, config.validation_batch_size) == (30_000, 128, 256)
    assert config.optimizer == OptimizerConfig(learning_rate=3e-4)
    assert config.model == ModelConfig(architecture="vqvae2")
    data = config.data
    assert (data.source, data.normalization) == (source, normalization)
    assert (data.image_size, data.resize) == (256, "squash")


def test_recipes_for_the_sample_are_those_of_imagenet_but_for_what_they_say():
    recipe, sample, small = (
        RunConfig.from_toml(find_recipe(name))
        for name in ("imagenet-ksom", "imagenet-sample-ksom", "imagenet-sample-64-ksom")
    )
    first_batch = dataclasses.replace(recipe.model.quantizer, initialization="first_batch")
    assert sample.model == small.model == dataclasses.replace(recipe.model, quantizer=first_batch)
    assert sample.optimizer == small.optimizer == dataclasses.replace(recipe.optimizer, learning_rate=1e-3)
    assert (sample.data.image_size, sample.data.train_crop, small.data.image_size) == (256, 64, 64)
    assert dataclasses.replace(sample.data, image_size=64, train_crop=None) == small.data


def test_an_unknown_recipe_lists_those_that_are_known():
    with pytest.raises(ConfigError, match="name a TOML file or one of cifar10-ema, "):
        find_recipe("cifar11")
