import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from kohonen_tokenizer.training.checkpoint import load_checkpoint
from kohonen_tokenizer.training.data import load_splits
from kohonen_tokenizer.training.evaluation import evaluate
from kohonen_tokenizer.training.evaluation_report import as_json, as_table
from kohonen_tokenizer.training.image_quality import peak_signal_to_noise, structural_similarity
from kohonen_tokenizer.training.map_order import code_distances, topographic_product, trustworthiness
from kohonen_tokenizer.training.topology import topographic_error
from kohonen_tokenizer.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def evaluated(photo_folder, small_config, tmp_path):
    """A checkpoint of 30 steps, the test images, and its evaluation."""
    images = load_splits(small_config.data, photo_folder)
    trainer = Trainer(small_config, images, device=CPU)
    for _ in range(30):
        trainer.step()
    trainer.save(tmp_path / "checkpoints")
    checkpoint = load_checkpoint(tmp_path)
    return checkpoint, images.test, evaluate(checkpoint, images.test, split="test", device=CPU, batch_size=16)


def test_figures_equal_those_computed_one_by_one(evaluated):
    checkpoint, pixels, evaluation = evaluated
    model = checkpoint.model()
    with torch.no_grad():
        latents = model.encoder(model.normalize(pixels))
        indices = model.encode(pixels)["tokens"]
        decoded = model.decode({"tokens": indices})
        shifted = model.decode({"tokens": model.quantizer.grid.shift(indices, 1)})
        images = model.decoder(model.quantizer.lookup(indices))
    assert evaluation.num_images == 40
    assert evaluation.checkpoint_sha256 == checkpoint.weights_sha256
    expected_loss = np.square(images.double().numpy() - model.normalize(pixels).double().numpy()).mean()
    assert evaluation.loss == pytest.approx(expected_loss, rel=1e-5)
    for measured, reconstruction in ((evaluation.psnr, decoded), (evaluation.psnr_by_offset[1], shifted)):
        errors = (reconstruction.double() - pixels.double()).square().flatten(1).mean(1).tolist()
        assert measured == pytest.approx(
            np.mean([10 * math.log10(255**2 / error) for error in errors]), abs=1e-3
        )
    assert evaluation.psnr_by_offset[0] == evaluation.psnr
    assert list(evaluation.levels) == ["tokens"]
    level = evaluation.levels["tokens"]
    assert level.psnr_by_offset == evaluation.psnr_by_offset
    assert evaluation.bits_per_image == 8 * 8 * 5
    assert len(evaluation.psnr_by_offset) == 3, "a 4 by 8 map has room for offsets up to 2"
    vectors = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    codebook, grid = model.quantizer.codebook, model.quantizer.grid
    assert level.map.topographic_error_8 == pytest.approx(
        topographic_error(vectors, codebook, grid, connectivity=8), abs=0.01
    )
    assert level.map.quantization_error == pytest.approx(
        (vectors - model.quantizer.codebook[indices.flatten()]).norm(dim=1).mean().item(), rel=1e-4
    )
    assert evaluation.ssim == pytest.approx(structural_similarity(decoded, pixels).mean().item(), abs=1e-4)
    assert level.trustworthiness == pytest.approx(
        trustworthiness(code_distances(codebook), grid.distances(), num_neighbors=10)
    )
    assert level.topographic_product == pytest.approx(
        topographic_product(code_distances(codebook), grid.distances())
    )
    counts = torch.bincount(indices.flatten(), minlength=32).double()
    shares = (counts / counts.sum())[counts > 0].tolist()
    assert level.usage.perplexity == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))
    assert level.usage.used_share == len(indices.unique()) / 32


def test_reports_hold_every_figure(evaluated):
    _, _, evaluation = evaluated
    read = json.loads(as_json(evaluation))
    assert read == json.loads(json.dumps(dataclasses.asdict(evaluation)))
    table = as_table(evaluation)
    assert f"{evaluation.psnr:.2f} dB" in table
    assert "photo crops, test, 40 images" in table


def test_psnr_equals_torchmetrics_and_is_bounded(photo_crops):
    original = torch.from_numpy(photo_crops[:6])
    noise = torch.randint(-20, 21, original.shape, generator=torch.Generator().manual_seed(0))
    noisy = (original.int() + noise).clamp(0, 255).to(torch.uint8)
    expected = peak_signal_noise_ratio(
        noisy.double(), original.double(), data_range=255.0, reduction="none", dim=(1, 2, 3)
    )
    torch.testing.assert_close(peak_signal_to_noise(noisy, original), expected)
    assert peak_signal_to_noise(original, original).tolist() == [100.0] * 6


def test_ssim_is_1_for_equal_images_and_less_for_noisy_ones(photo_crops):
    original = torch.from_numpy(photo_crops[:6])
    torch.testing.assert_close(structural_similarity(original, original), torch.ones(6))
    inverted = 255 - original
    assert (structural_similarity(inverted, original) < 0.5).all()
