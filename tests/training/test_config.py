import json

import pytest

from kohonen_tokenizer.training.config import QuantizerConfig, RunConfig
from kohonen_tokenizer.training.errors import ConfigError


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
        ("[data]\nvalidation_share = 1.0", "validation_share 1.0"),
        ("[data]\nimage_size = 30", "image_size 30"),
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
    assert config.same_run(config.with_changes(steps=50_000))
    assert not config.same_run(config.with_changes(seed=1))
    assert not config.same_run(RunConfig.from_dict({"model": {"quantizer": {"neighborhood": "none"}}}))


def test_defaults_are_the_papers_recipe():
    config = RunConfig()
    assert (config.steps, config.batch_size, config.validation_batch_size) == (30_000, 256, 512)
    assert config.optimizer.learning_rate == 1e-3
    assert config.optimizer.commitment_weight == 0.25
    assert config.model.quantizer == QuantizerConfig(
        codebook_size=512, map_shape=(16, 32), neighborhood="hard", shrink_step=0.1, decay=0.99, epsilon=1e-5
    )
