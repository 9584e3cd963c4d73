"""A small model, trained for some steps on crops of photographs, as a real checkpoint and as a bundle."""

import dataclasses

import pytest
import torch
from PIL import Image

from kohonen_tokenizer.export.bundle import export_bundle
from kohonen_tokenizer.export.formats import FORMATS, CapturedGraph, WrittenGraphs
from kohonen_tokenizer.export.manifest import ModelCard, validation_metrics
from kohonen_tokenizer.training.checkpoint import load_checkpoint
from kohonen_tokenizer.training.config import DataConfig, ModelConfig, RunConfig
from kohonen_tokenizer.training.data import load_splits
from kohonen_tokenizer.training.quantizer_config import QuantizerConfig
from kohonen_tokenizer.training.trainer import Trainer

SIZE = 16
CODES = 12
CONFIG = RunConfig(
    name="photos-12",
    steps=40,
    batch_size=32,
    data=DataConfig(
        source="folder", name="photo crops", license="as scikit-learn ships them", image_size=SIZE
    ),
    model=ModelConfig(
        hidden=8,
        residual_channels=4,
        code_dim=6,
        quantizer=QuantizerConfig(codebook_size=CODES, map_shape=(3, 4)),
    ),
)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The tensors here are so small that a second thread costs more than it brings."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def photos(crop_photos):
    """Crops of two photographs, uint8 [200, 16, 16, 3]."""
    return torch.from_numpy(crop_photos(200, size=SIZE))


@pytest.fixture(scope="session")
def data_folder(photos, tmp_path_factory):
    """The crops as files: 140 in train/ and 60 in test/."""
    root = tmp_path_factory.mktemp("data")
    for name, images in (("train", photos[:140]), ("test", photos[140:])):
        (root / name).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image.numpy()).save(root / name / f"{number:03d}.png")
    return root


@pytest.fixture(scope="session")
def run_folder(data_folder, tmp_path_factory):
    """A run with one checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    trainer = Trainer(CONFIG, load_splits(CONFIG.data, data_folder), device=torch.device("cpu"))
    for _ in range(CONFIG.steps):
        trainer.step()
    trainer.validate()
    trainer.save(folder / "checkpoints")
    return folder


@pytest.fixture(scope="session")
def checkpoint(run_folder):
    return load_checkpoint(run_folder)


@pytest.fixture
def model(checkpoint):
    """The checkpoint's model, for a test to do with as it likes."""
    return checkpoint.model().requires_grad_(False)


@pytest.fixture(scope="session")
def test_images(photos):
    """Crops that training has not seen."""
    return photos[140:]


@pytest.fixture(scope="session")
def card(checkpoint):
    return ModelCard(metrics=validation_metrics(checkpoint))


@pytest.fixture(scope="session")
def exported(checkpoint, test_images, card, tmp_path_factory):
    """The bundle, for tests that leave it as it is."""
    out = tmp_path_factory.mktemp("bundles") / "photos-12"
    return export_bundle(checkpoint, out, images=test_images, card=card)


@pytest.fixture(scope="session")
def written(exported):
    """Both graphs in each format, as they are in the bundle."""

    def content(half, format_):
        return (exported.folder / f"{half}.{format_.suffix}").read_bytes()

    return [
        WrittenGraphs(
            format=format_, encoder=content("encoder", format_), decoder=content("decoder", format_)
        )
        for format_ in FORMATS
    ]


@pytest.fixture
def rewritten(written):
    """The same in one format by name, but with another module written as the encoder or the decoder."""

    def rewrite(name, **modules):
        (pair,) = (pair for pair in written if pair.format.name == name)
        contents = {half: pair.format.write(CapturedGraph.of(module)) for half, module in modules.items()}
        bad = dataclasses.replace(pair, **contents)
        return [bad if other is pair else other for other in written]

    return rewrite
