"""Runs, checkpoints, and what a kill leaves behind."""

import dataclasses
import fcntl
import json
import math
import os
import signal
import subprocess
import sys

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kohonen_tokenizer.training.checkpoint import latest_checkpoint, load_checkpoint
from kohonen_tokenizer.training.compilation import compile_networks
from kohonen_tokenizer.training.config import OptimizerConfig, RunConfig
from kohonen_tokenizer.training.data import ImageSplits, batch_indices, load_splits
from kohonen_tokenizer.training.errors import CheckpointError, DataError, DivergedError, StoppedError
from kohonen_tokenizer.training.run import run
from kohonen_tokenizer.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def images(photo_folder, small_config):
    return load_splits(small_config.data, photo_folder)


def test_losses_fall_on_real_images(images, small_config):
    trainer = Trainer(small_config, images, device=CPU)
    losses = [trainer.step().reconstruction_loss.item() for _ in range(40)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert trainer.model.quantizer.step.item() == 40


def test_a_step_is_the_recipes_written_out(images, small_config):
    """Loss of Eq. 15 with means, clipped gradients, AdamW: against the same in plain numbers."""
    options = OptimizerConfig(
        learning_rate=3e-3, weight_decay=0.1, betas=(0.7, 0.9), epsilon=1e-6, max_grad_norm=0.05
    )
    config = dataclasses.replace(small_config, optimizer=options)
    trainer = Trainer(config, images, device=CPU)
    reference = Trainer(config, images, device=CPU).model.train()
    chosen = batch_indices(num_images=160, batch_size=16, seed=0, step=0)
    pixels = reference.normalize(images.train[chosen])
    output = reference(pixels)
    reconstruction = (output.images - pixels).square().mean()
    commitment = output.quantized["tokens"].commitment_loss
    (reconstruction + 0.25 * commitment).backward()
    norm = math.sqrt(
        sum(parameter.grad.double().square().sum().item() for parameter in reference.parameters())
    )
    assert norm > options.max_grad_norm, "the clip must have something to do"
    expected = []
    for parameter in reference.parameters():
        gradient = parameter.grad.double() * options.max_grad_norm / (norm + 1e-6)
        # First step of AdamW: after bias correction the moments are the gradient and its square.
        decayed = parameter.detach().double() * (1 - options.learning_rate * options.weight_decay)
        expected.append(decayed - options.learning_rate * gradient / (gradient.abs() + options.epsilon))

    result = trainer.step()

    assert result.reconstruction_loss.item() == pytest.approx(reconstruction.item(), rel=1e-5)
    assert result.commitment_loss.item() == pytest.approx(commitment.item(), rel=1e-5)
    assert result.perplexity["tokens"].item() == pytest.approx(
        output.quantized["tokens"].perplexity.item(), rel=1e-4
    )
    levels = (output.images - pixels).detach() * reference.pixel_std.view(1, 3, 1, 1)
    assert result.psnr.item() == pytest.approx(
        10 * math.log10(255**2 / levels.square().mean().item()), rel=1e-4
    )
    for parameter, value in zip(trainer.model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach().double(), value, rtol=1e-3, atol=2e-5)


def test_a_run_that_diverges_ends_with_its_good_checkpoints_kept(images, small_config, tmp_path, monkeypatch):
    step = Trainer.step

    def step_to_nan(self):
        result = step(self)
        broken = torch.tensor(math.nan)
        return dataclasses.replace(result, reconstruction_loss=broken) if self.step_count > 3 else result

    monkeypatch.setattr(Trainer, "step", step_to_nan)
    with pytest.raises(DivergedError, match=r"the loss is nan at step 6; lower optimizer\.learning_rate"):
        run(small_config, images, out=tmp_path, device=CPU)
    assert load_checkpoint(tmp_path).step == 3


def test_two_processes_cannot_train_in_one_folder(images, small_config, tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="another process trains here"):
            run(small_config, images, out=tmp_path, device=CPU)


def test_a_batch_larger_than_the_data_is_refused_before_anything_is_made(images, small_config, tmp_path):
    with pytest.raises(DataError, match="batch_size 200: more than the 160"):
        run(small_config.with_changes(batch_size=200), images, out=tmp_path / "run", device=CPU)
    assert not (tmp_path / "run").exists()


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
    config = small_config.with_changes(steps=12)
    recipe = tmp_path / "run.json"
    recipe.write_text(json.dumps(config.to_dict()))
    program = """if True:
        import json, os, signal, sys
        from pathlib import Path
        import torch
        from kohonen_tokenizer.training.config import RunConfig
        from kohonen_tokenizer.training.data import load_splits
        from kohonen_tokenizer.training.run import run
        from kohonen_tokenizer.training.trainer import Trainer

        config = RunConfig.from_dict(json.loads(Path(sys.argv[1]).read_text()))
        step = Trainer.step

        def step_and_die(trainer):
            if trainer.step_count == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(trainer)

        Trainer.step = step_and_die
        images = load_splits(config.data, Path(sys.argv[2]))
        run(config, images, out=Path(sys.argv[3]), device=torch.device("cpu"))
    """
    command = [sys.executable, "-c", program, str(recipe), str(photo_folder), str(tmp_path / "killed")]
    # As many threads as here: the order of sums, and with it the last bit, depends on their number.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.run(command, stderr=subprocess.DEVNULL, env=environment, timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert load_checkpoint(tmp_path / "killed").step == 6

    killed = load_checkpoint(run(config, images, out=tmp_path / "killed", device=CPU))
    unbroken = load_checkpoint(run(config, images, out=tmp_path / "unbroken", device=CPU))
    assert killed.step == unbroken.step == 12
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
    with pytest.raises(StoppedError, match="stopped at step 2 of 8; call the same command again"):
        run(small_config, images, out=tmp_path, device=CPU)
    assert load_checkpoint(tmp_path).step == 2
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
    assert validation.levels["tokens"].codes_used == len(result.quantized["tokens"].indices.unique())
    errors = (
        (model.to_pixels(result.images).double() - images.validation.double()).square().flatten(1).mean(1)
    )
    psnr = [10 * math.log10(255**2 / error) for error in errors.tolist()]
    assert validation.psnr == pytest.approx(sum(psnr) / len(psnr), abs=1e-3)
    assert model.pixel_mean.tolist() == pytest.approx(
        images.train.double().mean(dim=(0, 1, 2)).tolist(), rel=1e-6
    )


def test_another_configuration_or_other_data_is_refused(images, small_config, tmp_path):
    run(small_config, images, out=tmp_path, device=CPU)
    with pytest.raises(CheckpointError, match=r"has another configuration \(seed: 9, not 0\)"):
        run(small_config.with_changes(seed=9), images, out=tmp_path, device=CPU)
    inverted = ImageSplits(train=255 - images.train, validation=images.validation, test=None)
    with pytest.raises(CheckpointError, match="was trained on 160 other images than these 160"):
        run(small_config, inverted, out=tmp_path, device=CPU)
    with pytest.raises(CheckpointError, match="has 8 steps already, and 4 are asked for"):
        run(small_config.with_changes(steps=4), images, out=tmp_path, device=CPU)


def test_a_finished_run_can_be_made_longer(images, small_config, tmp_path):
    run(small_config, images, out=tmp_path / "extended", device=CPU)
    longer = load_checkpoint(
        run(small_config.with_changes(steps=11), images, out=tmp_path / "extended", device=CPU)
    )
    at_once = load_checkpoint(
        run(small_config.with_changes(steps=11), images, out=tmp_path / "once", device=CPU)
    )
    assert longer.weights_sha256 == at_once.weights_sha256
    events = EventAccumulator(str(tmp_path / "extended" / "tensorboard"))
    events.Reload()
    assert [point.step for point in events.Scalars("validation/psnr")] == [4, 8, 11]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "checkpoint.json"])
def test_a_damaged_checkpoint_is_refused_in_one_line(images, small_config, tmp_path, name):
    path = Trainer(small_config, images, device=CPU).save(tmp_path / "checkpoints")
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("description", ["[]", "{}", '{"format_version": 1, "sha256": []}', "\xff"])
def test_a_description_of_another_kind_is_refused_in_one_line(images, small_config, tmp_path, description):
    path = Trainer(small_config, images, device=CPU).save(tmp_path / "checkpoints")
    (path / "checkpoint.json").write_text(description, encoding="latin-1")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(path)


def test_weights_of_another_model_are_refused_in_one_line(images, small_config, tmp_path):
    path = Trainer(small_config, images, device=CPU).save(tmp_path / "checkpoints")
    description = json.loads((path / "checkpoint.json").read_text())
    description["config"]["model"]["hidden"] = 32
    (path / "checkpoint.json").write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not fit the model") as caught:
        load_checkpoint(path).model()
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


def test_bfloat16_keeps_the_curve_and_stays_out_of_the_quantizer(images, small_config):
    """Its products have 8 bits, 0.4 %: a loss, their mean, follows the float32 one more closely than that.

    Weights, codebook and validation are float32, and so the averages are those of exact sums.
    """
    lossy = RunConfig.from_dict(small_config.to_dict() | {"speed": {"precision": "bfloat16"}})
    exact, trainer = (Trainer(config, images, device=CPU) for config in (small_config, lossy))
    steps = [(exact.step(), trainer.step()) for _ in range(20)]
    expected, losses = (
        [float(one.reconstruction_loss) for one in of_one] for of_one in zip(*steps, strict=True)
    )
    assert losses == pytest.approx(expected, rel=0.02)
    assert losses != expected
    assert {tensor.dtype for tensor in trainer.model.state_dict().values()} == {torch.float32, torch.int64}
    assert trainer.validate().loss == pytest.approx(exact.validate().loss, rel=0.02)


def test_compiling_leaves_the_quantizer_and_all_names_as_they_are(images, small_config):
    trainer = Trainer(small_config, images, device=CPU)
    names = list(trainer.model.state_dict())
    compile_networks(trainer.model)
    assert list(trainer.model.state_dict()) == names
    compiled = {name for name, part in trainer.model.named_children() if part._compiled_call_impl is not None}
    assert compiled == {"encoder", "decoder"}
