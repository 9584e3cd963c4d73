"""Small sources of images and the command, on the tiny bundle of the service's tests."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..service.conftest import (
    TinyModel,
    make_bundle,
    random_images,
    tiny_bundle,
    tiny_files,
    tiny_model,
    two_level_bundle,
)

__all__ = [
    "TinyModel",
    "make_bundle",
    "random_images",
    "tiny_bundle",
    "tiny_files",
    "tiny_model",
    "two_level_bundle",
]

Command = Callable[..., tuple[int, str, str]]

NUM_IMAGES = 70


@pytest.fixture
def encode(run: Command, tiny_bundle: Path) -> Command:
    """Run `encode SOURCE DEST` with the tiny bundle, in this process, in shards of 16 images."""

    def call(source: str | Path, destination: str | Path, *args: str | Path) -> tuple[int, str, str]:
        options = ["--bundle", tiny_bundle, "--device", "cpu", "--workers", "1", "--rows-per-shard", "16"]
        return run("encode", source, destination, *options, *args)

    return call


@pytest.fixture
def photos(tmp_path: Path, random_images: np.ndarray) -> Path:
    """A folder of 70 PNG files of 8 x 8 in two folders, cat and dog, and a file that is no image."""
    folder = tmp_path / "photos"
    for index, image in enumerate(random_images):
        path = folder / ("cat" if index < 30 else "dog") / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    (folder / "README.md").write_text("not an image")
    return folder


def png(image: np.ndarray) -> bytes:
    """The PNG file of an image."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def files_of(dataset: Path) -> dict[str, bytes]:
    """What two runs of one job must agree in, to the bit: the shards, the manifest, the records."""
    paths = [path for path in dataset.rglob("*") if path.is_file() and path.name != "lock"]
    return {path.relative_to(dataset).as_posix(): path.read_bytes() for path in paths}
