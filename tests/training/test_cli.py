"""The commands train and evaluate as a user meets them: real processes are in test_end_to_end.py."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from kohonen_tokenizer.training.cli import app
from kohonen_tokenizer.training.errors import CheckpointError, ConfigError, DataError, TrainingError

RECIPE = """
name = "photos-test"
steps = 4
batch_size = 16
validate_every = 2
checkpoint_every = 2
[data]
source = "folder"
name = "photo crops"
[model]
hidden = 16
residual_channels = 8
code_dim = 8
[model.quantizer]
codebook_size = 32
map_shape = [4, 8]
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_train_then_evaluate(recipe, photo_folder, tmp_path):
    trained = call(
        "train", recipe, "--data", photo_folder, "--out", tmp_path / "run", "--steps", 3, "--seed", 5
    )
    assert trained.exit_code == 0, trained.output
    assert trained.stdout == f"{tmp_path / 'run' / 'checkpoints' / 'step-00000003'}\n"
    judged = call(
        "evaluate",
        tmp_path / "run",
        "--data",
        photo_folder,
        "--json",
        tmp_path / "test.json",
        "--u-matrix",
        tmp_path / "map.png",
    )
    assert judged.exit_code == 0, judged.output
    figures = json.loads((tmp_path / "test.json").read_text())
    assert f"{figures['psnr']:.2f} dB" in judged.stdout
    assert figures["num_images"] == 40
    assert f"{figures['levels']['tokens']['topographic_product']:+.4f}" in judged.stdout
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.size == (24 * 8, 24 * 4)
        assert picture.getextrema() == (0, 255)


def test_other_images_than_the_runs_are_refused(recipe, photo_folder, tmp_path):
    call("train", recipe, "--data", photo_folder, "--out", tmp_path / "run")
    error = call("evaluate", tmp_path / "run", "--data", photo_folder / "test").exception
    assert isinstance(error, CheckpointError)
    assert "name the folder of its own data" in str(error)


def test_without_test_images_the_other_split_is_named(recipe, photo_folder, tmp_path):
    call("train", recipe, "--data", photo_folder / "train", "--out", tmp_path / "run")
    error = call("evaluate", tmp_path / "run", "--data", photo_folder / "train").exception
    assert isinstance(error, DataError)
    assert "use --split validation" in str(error)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"recipe": "none"}, ConfigError, "recipe 'none': no such file"),
        ({"--data": "/nowhere"}, DataError, "/nowhere: no such folder"),
        ({"--steps": "0"}, ConfigError, "steps 0: must be at least 1"),
        ({"--batch-size": "500"}, DataError, "batch_size 500: more than the 160"),
        ({"--device": "meta"}, ConfigError, "device 'meta': must be cpu, cuda or cuda:N"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(recipe, photo_folder, tmp_path, changes, error, message):
    arguments = {"recipe": recipe, "--data": photo_folder, "--out": tmp_path / "run"} | changes
    options = [part for option, value in arguments.items() if option != "recipe" for part in (option, value)]
    raised = call("train", arguments["recipe"], *options).exception
    assert isinstance(raised, error)
    assert message in str(raised)
    assert "\n" not in str(raised)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here, so asking for one is no error")
def test_a_gpu_that_is_not_there_is_an_error(recipe, photo_folder, tmp_path):
    raised = call(
        "train", recipe, "--data", photo_folder, "--out", tmp_path / "run", "--device", "cuda"
    ).exception
    assert isinstance(raised, TrainingError)
    assert "device 'cuda': not usable here" in str(raised)


def test_cifar10_is_read_as_torchvision_gives_it(recipe, photo_crops, tmp_path, monkeypatch):
    """The source that the paper's recipes name, with the download acted out."""

    class FakeCIFAR10:
        def __init__(self, root, *, train, download):
            assert (root, download) == (str(tmp_path), True)
            self.data = photo_crops[:200] if train else np.ascontiguousarray(photo_crops[200:])

    monkeypatch.setattr("kohonen_tokenizer.training.data.CIFAR10", FakeCIFAR10)
    recipe.write_text(RECIPE.replace('"folder"', '"cifar10"'))
    call("train", recipe, "--data", tmp_path, "--out", tmp_path / "run")
    judged = call("evaluate", tmp_path / "run", "--data", tmp_path)
    assert "photo crops, test, 40 images" in judged.stdout


def test_a_download_that_fails_says_what_to_do(recipe, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Dataset not found or corrupted.")

    monkeypatch.setattr("kohonen_tokenizer.training.data.CIFAR10", fail)
    recipe.write_text(RECIPE.replace('"folder"', '"cifar10"'))
    raised = call("train", recipe, "--data", tmp_path, "--out", tmp_path / "run").exception
    assert isinstance(raised, DataError)
    assert "put cifar-10-batches-py there" in str(raised)
