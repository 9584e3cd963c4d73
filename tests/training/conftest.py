"""Small real runs: crops of photographs, and a model that trains in a second."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kohonen_tokenizer.training.config import DataConfig, ModelConfig, RunConfig
from kohonen_tokenizer.training.quantizer_config import QuantizerConfig


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The tensors here are so small that a second thread costs more than it brings."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def photo_crops(crop_photos):
    """240 crops of two photographs, uint8 [240, 32, 32, 3]."""
    return crop_photos(240, size=32)


@pytest.fixture(scope="session")
def photo_folder(photo_crops, tmp_path_factory) -> Path:
    """The crops as PNG files: 200 in train/, 40 in test/."""
    root = tmp_path_factory.mktemp("photos")
    for split, crops in (
        ("train", photo_crops[20:220]),
        ("test", np.delete(photo_crops, slice(20, 220), axis=0)),
    ):
        folder = root / split / "crop"
        folder.mkdir(parents=True)
        for number, crop in enumerate(crops):
            Image.fromarray(crop).save(folder / f"{number:04d}.png")
    return root


@pytest.fixture
def small_config() -> RunConfig:
    return RunConfig(
        name="photos-test",
        steps=8,
        batch_size=16,
        validate_every=4,
        checkpoint_every=3,
        log_every=2,
        data=DataConfig(source="folder", name="photo crops"),
        model=ModelConfig(
            hidden=16,
            residual_channels=8,
            code_dim=8,
            quantizer=QuantizerConfig(codebook_size=32, map_shape=(4, 8)),
        ),
    )
