"""Two levels of latents: the model, its training, and how each level is judged."""

import dataclasses
import math

import pytest
import torch

from kohonen_tokenizer.training.build import build_model
from kohonen_tokenizer.training.checkpoint import LevelUsage, Validation, load_checkpoint
from kohonen_tokenizer.training.config import ModelConfig, OptimizerConfig, RunConfig
from kohonen_tokenizer.training.data import load_splits
from kohonen_tokenizer.training.errors import ConfigError
from kohonen_tokenizer.training.evaluation import evaluate
from kohonen_tokenizer.training.evaluation_report import as_table
from kohonen_tokenizer.training.image_quality import peak_signal_to_noise
from kohonen_tokenizer.training.run import run
from kohonen_tokenizer.training.topology import topographic_error
from kohonen_tokenizer.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def config(small_config) -> RunConfig:
    return dataclasses.replace(
        small_config, model=dataclasses.replace(small_config.model, architecture="vqvae2")
    )


@pytest.fixture
def images(photo_folder, config):
    return load_splits(config.data, photo_folder)


def test_the_levels_of_an_image_of_256_pixels_are_the_papers():
    model = build_model(ModelConfig(architecture="vqvae2"), seed=0).eval()
    with torch.no_grad():
        indices = model.encode(torch.zeros(1, 256, 256, 3, dtype=torch.uint8))
        assert model.decode(indices).shape == (1, 256, 256, 3)
    assert {level: tuple(grid.shape) for level, grid in indices.items()} == {
        "top": (1, 32, 32),
        "bottom": (1, 64, 64),
    }
    assert [quantizer.codebook.shape for quantizer in model.quantizers.values()] == [(512, 64)] * 2
    assert model.bits_per_image(indices) == (32 * 32 + 64 * 64) * 9

    def conv(inputs, outputs, size):
        return inputs * outputs * size**2 + outputs

    trunk = 2 * (conv(128, 32, 3) + conv(32, 128, 1))
    bottom_encoder = conv(3, 64, 4) + conv(64, 128, 4) + conv(128, 128, 3) + trunk
    top_encoder = conv(128, 64, 4) + conv(64, 128, 3) + trunk + conv(128, 64, 1)
    top_decoder = conv(64, 128, 3) + trunk + conv(128, 64, 4)
    to_bottom, upsample = conv(128 + 64, 64, 1), conv(64, 64, 4)
    decoder = conv(128, 128, 3) + trunk + conv(128, 64, 4) + conv(64, 3, 4)
    assert sum(parameter.numel() for parameter in model.parameters()) == (
        bottom_encoder + top_encoder + top_decoder + to_bottom + upsample + decoder
    )


def test_each_level_has_a_codebook_of_its_own(config):
    top, bottom = build_model(config.model, seed=0).quantizers.values()
    assert not torch.equal(top.codebook, bottom.codebook)


def test_the_bottom_level_depends_on_the_codes_of_the_top(config, images):
    model = build_model(config.model, seed=0).eval()
    latents = {}

    def given(top):
        def quantize(level, encoded):
            latents[level] = encoded
            return model.top_quantizer.lookup(top) if level == "top" else encoded

        with torch.no_grad():
            model.encode_levels(model.normalize(images.train[:2]), quantize)
        return dict(latents)

    first, second = given(torch.zeros(2, 4, 4, dtype=torch.int64)), given(torch.ones(2, 4, 4).long())
    assert torch.equal(first["top"], second["top"])
    assert not torch.equal(first["bottom"], second["bottom"])


def test_a_step_adds_the_commitment_of_both_levels_and_moves_both_maps(config, images):
    trainer = Trainer(config, images, device=CPU)
    before = {level: quantizer.codebook.clone() for level, quantizer in trainer.model.quantizers.items()}
    reference = Trainer(config, images, device=CPU).model.train()
    output = reference(reference.normalize(trainer.prefetcher.batch(0)))
    result = trainer.step()
    levels = [level.commitment_loss.item() for level in output.quantized.values()]
    assert result.commitment_loss.item() == pytest.approx(sum(levels), rel=1e-5)
    assert list(result.perplexity) == ["top", "bottom"]
    for level, quantizer in trainer.model.quantizers.items():
        assert quantizer.step.item() == 1
        assert not torch.equal(quantizer.codebook, before[level])


def test_gradients_reach_every_weight(config, images):
    model = build_model(config.model, seed=0).train()
    pixels = model.normalize(images.train[:8])
    (model(pixels).images - pixels).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_losses_fall_and_a_run_carries_on(config, images, tmp_path):
    faster = dataclasses.replace(config, optimizer=OptimizerConfig(learning_rate=3e-3))
    trainer = Trainer(faster, images, device=CPU)
    losses = [trainer.step().reconstruction_loss.item() for _ in range(60)]
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])
    run(config.with_changes(steps=4), images, out=tmp_path, device=CPU)
    resumed = load_checkpoint(run(config.with_changes(steps=8), images, out=tmp_path, device=CPU))
    again = Trainer(config, images, device=CPU)
    for _ in range(8):
        again.step()
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, resumed.weights[name]), name
    assert [list(validation.levels) for validation in resumed.validations] == [["top", "bottom"]] * 2


def test_evaluation_judges_each_level_by_itself(config, images, tmp_path):
    trainer = Trainer(config, images, device=CPU)
    for _ in range(10):
        trainer.step()
    trainer.save(tmp_path / "checkpoints")
    checkpoint = load_checkpoint(tmp_path)
    evaluation = evaluate(checkpoint, images.test, split="test", device=CPU, batch_size=16)
    model, pixels = checkpoint.model(), images.test
    assert list(evaluation.levels) == ["top", "bottom"]
    with torch.no_grad():
        result = model(model.normalize(pixels))
        indices = {level: quantized.indices for level, quantized in result.quantized.items()}
        moved = {
            level: quantizer.grid.shift(indices[level], 1) for level, quantizer in model.quantizers.items()
        }
        for level, quantizer in model.quantizers.items():
            figures = evaluation.levels[level]
            counts = torch.bincount(indices[level].flatten(), minlength=32).double()
            shares = (counts / counts.sum())[counts > 0].tolist()
            assert figures.usage.perplexity == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))
            vectors = result.encoded[level].permute(0, 2, 3, 1).flatten(0, 2)
            error = topographic_error(vectors, quantizer.codebook, quantizer.grid, connectivity=8)
            assert figures.map.topographic_error_8 == pytest.approx(error, abs=0.01)
            decoded = model.decode({**indices, level: moved[level]})
            assert figures.psnr_by_offset[1] == pytest.approx(
                peak_signal_to_noise(decoded, pixels).mean().item(), abs=0.01
            )
        both = peak_signal_to_noise(model.decode(moved), pixels).mean().item()
    assert evaluation.psnr_by_offset[1] == pytest.approx(both, abs=0.01)
    assert evaluation.psnr_by_offset[0] == evaluation.psnr
    table = as_table(evaluation)
    assert "top: perplexity" in table
    assert "bottom: topographic error, 8" in table


def test_an_image_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match=r"data.image_size 36: must be a multiple of 8"):
        RunConfig.from_dict(
            {
                "model": {"architecture": "vqvae2"},
                "data": {"source": "folder", "name": "x", "image_size": 36},
            }
        )


def test_validations_written_before_levels_are_read():
    old = {"step": 4, "loss": 0.5, "psnr": 20.0, "perplexity": 30.5, "codes_used": 31}
    levels = {"tokens": LevelUsage(perplexity=30.5, codes_used=31)}
    assert Validation.from_dict(old) == Validation(step=4, loss=0.5, psnr=20.0, levels=levels)
