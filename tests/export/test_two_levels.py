"""A VQ-VAE-2 as a bundle: two levels of tokens in every format, through the same gate."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch

from kohonen_tokenizer import Tokenizer
from kohonen_tokenizer.export.bundle import export_bundle
from kohonen_tokenizer.export.errors import ParityError
from kohonen_tokenizer.export.formats import FORMATS, CapturedGraph, WrittenGraphs
from kohonen_tokenizer.export.graphs import DecoderGraph, EncoderGraph
from kohonen_tokenizer.export.manifest import ModelCard, validation_metrics
from kohonen_tokenizer.export.parity import check_parity
from kohonen_tokenizer.training.checkpoint import load_checkpoint
from kohonen_tokenizer.training.config import ModelConfig, QuantizerConfig, RunConfig
from kohonen_tokenizer.training.data import load_splits
from kohonen_tokenizer.training.trainer import Trainer


@pytest.fixture(scope="module")
def checkpoint(data_folder, tmp_path_factory, checkpoint):
    """A small VQ-VAE-2 of the same crops."""
    config = RunConfig(
        name="photos-12-12",
        batch_size=32,
        data=checkpoint.config.data,
        model=ModelConfig(
            architecture="vqvae2",
            hidden=8,
            residual_channels=4,
            code_dim=6,
            quantizer=QuantizerConfig(codebook_size=12, map_shape=(3, 4)),
        ),
    )
    folder = tmp_path_factory.mktemp("run")
    trainer = Trainer(config, load_splits(config.data, data_folder), device=torch.device("cpu"))
    images = trainer.images.train
    trainer.step()
    # As if trained for long: each code is a latent of some image, so that all are in use.
    with torch.no_grad():
        encoded = trainer.model.eval()(trainer.model.normalize(images)).encoded
    for level, quantizer in trainer.model.quantizers.items():
        vectors = encoded[level].permute(0, 2, 3, 1).flatten(0, 2)
        quantizer.codebook.copy_(vectors[:: len(vectors) // 12][:12])
    trainer.validate()
    trainer.save(folder / "checkpoints")
    return load_checkpoint(folder)


@pytest.fixture(scope="module")
def exported(checkpoint, test_images, tmp_path_factory):
    card = ModelCard(metrics=validation_metrics(checkpoint))
    out = tmp_path_factory.mktemp("bundles") / "photos-12-12"
    return export_bundle(checkpoint, out, images=test_images, card=card)


@pytest.mark.parametrize("backend", [format_.name for format_ in FORMATS])
def test_the_service_gives_the_checkpoints_tokens_and_pixels(exported, checkpoint, test_images, backend):
    model = checkpoint.model().requires_grad_(False)
    tokenizer = Tokenizer.load(exported.folder, backend=backend, num_threads=1)
    tokens = tokenizer.encode(test_images.numpy())
    expected = model.encode(test_images)
    assert {name: grid.shape for name, grid in tokens.items()} == {"top": (60, 2, 2), "bottom": (60, 4, 4)}
    for name, grid in tokens.items():
        assert np.mean(grid == expected[name].numpy()) > 0.99
        assert len(np.unique(grid)) > 3, "else equality would say little"
    decoded = tokenizer.decode(tokens).astype(int)
    reference = model.decode({name: torch.from_numpy(grid) for name, grid in tokens.items()})
    assert np.abs(decoded - reference.numpy()).max() <= 1


def test_the_manifest_has_both_levels_with_a_codebook_each(exported, checkpoint):
    manifest = exported.manifest
    assert [(level.name, level.latent_grid) for level in manifest.levels] == [
        ("top", (2, 2)),
        ("bottom", (4, 4)),
    ]
    assert {level.codebook_file for level in manifest.levels} == {
        "codebook_top.safetensors",
        "codebook_bottom.safetensors",
    }
    model = checkpoint.model()
    tokenizer = Tokenizer.load(exported.archive)
    for name, quantizer in model.quantizers.items():
        np.testing.assert_array_equal(tokenizer.levels[name].codebook.vectors, quantizer.codebook.numpy())
    assert list(manifest.metrics["validation"]["levels"]) == ["top", "bottom"]
    assert manifest.parity["num_tokens"] == 3 * 2 * (1 + 2 + 17) * (4 + 16)


def test_onnx_names_the_tensors_by_level(exported):
    encoder = onnx.load(exported.folder / "encoder.onnx").graph
    decoder = onnx.load(exported.folder / "decoder.onnx").graph
    assert [value.name for value in encoder.output] == ["tokens_top", "tokens_bottom"]
    assert [value.name for value in decoder.input] == ["tokens_top", "tokens_bottom"]
    # Only top's codes are looked up in the encoder: bottom depends on them.
    assert sum(node.op_type == "Gather" for node in encoder.node) == 1


@pytest.mark.parametrize(
    ("half", "part", "what"),
    [
        ("encoder", "top_encoder.6.weight", "tokens_top"),
        ("encoder", "to_bottom.weight", "tokens_bottom"),
        ("decoder", "decoder.0.weight", "pixels"),
    ],
)
def test_a_perturbed_weight_is_found_on_either_level(exported, checkpoint, test_images, half, part, what):
    format_ = next(format_ for format_ in FORMATS if format_.name == "torchscript")
    written = WrittenGraphs(
        format=format_,
        encoder=(exported.folder / "encoder.torchscript.pt").read_bytes(),
        decoder=(exported.folder / "decoder.torchscript.pt").read_bytes(),
    )
    model, other = (checkpoint.model().requires_grad_(False) for _ in range(2))
    check_parity(model, written=[written], images=test_images)
    other.state_dict()[part].add_(0.3)
    graph = EncoderGraph if half == "encoder" else DecoderGraph
    content = format_.write(CapturedGraph.of(graph(other, image_size=16)))
    bad = dataclasses.replace(written, **{half: content})
    with pytest.raises(ParityError, match=rf"^torchscript {half}, batch of \d+: .*{what} differ"):
        check_parity(model, written=[bad], images=test_images)
