"""Runs, checkpoints, and what a kill leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kohonen_tokenizer.training.checkpoint import latest_checkpoint, load_checkpoint
from kohonen_tokenizer.training.data import load_splits
from kohonen_tokenizer.training.errors import CheckpointError
from kohonen_tokenizer.training.trainer import Trainer, run

CPU = torch.device("cpu")


@pytest.fixture
def images(photo_folder, small_config):
    return load_splits(small_config.data, photo_folder)


def test_losses_fall_on_real_images(images, small_config):
    trainer = Trainer(small_config, images, device=CPU)
    losses = [trainer.step().reconstruction_loss.item() for _ in range(40)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert trainer.model.quantizer.step.item() == 40


def test_a_resumed_run_has_the_losses_of_an_unbroken_one(images, small_config, tmp_path):
    unbroken = Trainer(small_config, images, device=CPU)
    expected = [unbroken.step().reconstruction_loss.item() for _ in range(12)]
    unbroken_validation = unbroken.validate()

    first = Trainer(small_config, images, device=CPU)
    losses = [first.step().reconstruction_loss.item() for _ in range(5)]
    first.save(tmp_path / "checkpoints")
    second = Trainer(small_config, images, device=CPU)
    second.restore(load_checkpoint(tmp_path))
    losses += [second.step().reconstruction_loss.item() for _ in range(7)]

    assert losses == expected
    assert second.validate() == unbroken_validation
    for name, tensor in unbroken.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name


def test_a_killed_process_carries_on_to_the_same_weights(images, small_config, photo_folder, tmp_path):
    """kill -9 in the middle of a run, then the same command again."""
    config = small_config.with_changes(steps=30)
    recipe = tmp_path / "run.json"
    recipe.write_text(json.dumps(config.to_dict()))
    program = (
        "import json, sys, torch; from pathlib import Path;"
        "from kohonen_tokenizer.training.config import RunConfig;"
        "from kohonen_tokenizer.training.data import load_splits;"
        "from kohonen_tokenizer.training.trainer import run;"
        "config = RunConfig.from_dict(json.loads(Path(sys.argv[1]).read_text()));"
        "images = load_splits(config.data, Path(sys.argv[2]));"
        "run(config, images, out=Path(sys.argv[3]), device=torch.device('cpu'))"
    )
    command = [sys.executable, "-c", program, str(recipe), str(photo_folder), str(tmp_path / "killed")]
    # As many threads as here: the order of sums, and with it the last bit, depends on their number.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
    while not list((tmp_path / "killed").glob("checkpoints/step-*")):
        assert process.poll() is None, "ended before its first checkpoint"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    stopped_at = load_checkpoint(tmp_path / "killed").step
    assert stopped_at < 30, "the kill came too late to show anything"

    killed = load_checkpoint(run(config, images, out=tmp_path / "killed", device=CPU))
    unbroken = load_checkpoint(run(config, images, out=tmp_path / "unbroken", device=CPU))
    assert killed.step == unbroken.step == 30
    assert killed.weights_sha256 == unbroken.weights_sha256
    assert killed.validations == unbroken.validations


def test_sigterm_ends_a_run_with_a_checkpoint(images, small_config, tmp_path, monkeypatch):
    steps = Trainer.step

    def step_and_terminate(self):
        result = steps(self)
        if self.step_count == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(Trainer, "step", step_and_terminate)
    before = signal.getsignal(signal.SIGTERM)
    path = run(small_config, images, out=tmp_path, device=CPU)
    assert load_checkpoint(path).step == 2
    assert signal.getsignal(signal.SIGTERM) == before


def test_run_writes_tensorboard_validations_and_keeps_the_last_checkpoints(images, small_config, tmp_path):
    path = run(small_config, images, out=tmp_path, device=CPU)
    checkpoint = load_checkpoint(path)
    assert [validation.step for validation in checkpoint.validations] == [4, 8]
    assert sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000006",
        "step-00000008",
    ]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    logged = events.Scalars("validation/reconstruction_loss")
    assert [point.step for point in logged] == [4, 8]
    assert logged[-1].value == pytest.approx(checkpoint.validations[-1].loss)
    assert [point.step for point in events.Scalars("train/reconstruction_loss")] == [2, 4, 6, 8]


def test_validation_is_the_mean_squared_error_of_normalized_images(images, small_config):
    trainer = Trainer(small_config.with_changes(), images, device=CPU)
    trainer.step()
    validation = trainer.validate()
    model = trainer.model.eval()
    normalized = model.normalize(images.validation)
    with torch.no_grad():
        result = model(normalized)
    expected = (result.images.double() - normalized.double()).square().mean().item()
    assert validation.loss == pytest.approx(expected, rel=1e-6)
    assert validation.codes_used == len(result.quantized.indices.unique())
    assert model.pixel_mean.tolist() == pytest.approx(
        images.train.double().mean(dim=(0, 1, 2)).tolist(), rel=1e-6
    )


def test_another_configuration_or_other_data_is_refused(images, small_config, tmp_path):
    run(small_config, images, out=tmp_path, device=CPU)
    with pytest.raises(CheckpointError, match="has another configuration"):
        run(small_config.with_changes(seed=9), images, out=tmp_path, device=CPU)
    fewer = type(images)(train=images.train[:100], validation=images.validation, test=None)
    with pytest.raises(CheckpointError, match="trained on 160 images, here are 100"):
        run(small_config, fewer, out=tmp_path, device=CPU)


def test_a_finished_run_can_be_made_longer(images, small_config, tmp_path):
    run(small_config, images, out=tmp_path / "extended", device=CPU)
    longer = load_checkpoint(
        run(small_config.with_changes(steps=11), images, out=tmp_path / "extended", device=CPU)
    )
    at_once = load_checkpoint(
        run(small_config.with_changes(steps=11), images, out=tmp_path / "once", device=CPU)
    )
    assert longer.weights_sha256 == at_once.weights_sha256


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "checkpoint.json"])
def test_a_damaged_checkpoint_is_refused_in_one_line(images, small_config, tmp_path, name):
    path = Trainer(small_config, images, device=CPU).save(tmp_path / "checkpoints")
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_an_interrupted_write_is_not_a_checkpoint(images, small_config, tmp_path, monkeypatch):
    trainer = Trainer(small_config, images, device=CPU)
    first = trainer.save(tmp_path / "checkpoints")
    trainer.step()

    def disk_full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="No space left"):
        trainer.save(tmp_path / "checkpoints")
    assert latest_checkpoint(tmp_path / "checkpoints") == first
    assert load_checkpoint(tmp_path).step == 0


def test_a_folder_without_checkpoints_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path)
