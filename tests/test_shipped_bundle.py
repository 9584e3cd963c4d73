"""The bundle that ships with the repo does what its model card says."""

import os
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "cifar10-ksom-512"
# CIFAR-10 as JPEG files is not part of the repo; name its archive here to run the test that needs it.
CIFAR10_JPEG = Path(
    os.environ.get("TEST_CIFAR10_JPEG", ROOT.parent / "shared" / "data" / "cifar10-jpeg.tar.xz")
)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.load(BUNDLE, num_threads=1)


@pytest.fixture(scope="module")
def crops(crop_photos):
    """256 crops of two photographs at half their size, uint8 [256, 32, 32, 3]."""
    return crop_photos(256, size=32, reduce=2)


def psnr(first, second):
    """Mean over images [B, H, W, 3], dB."""
    squared = np.square(first.astype(float) - second).mean(axis=(1, 2, 3))
    return np.mean(10 * np.log10(255**2 / np.maximum(squared, 1e-6)))


def shifted(tokens, offset, *, rows=16, columns=32):
    """Tokens moved by ``offset`` along both axes of the map, the other way where they would leave it."""
    x, y = tokens % columns, tokens // columns
    x = np.where(x + offset < columns, x + offset, x - offset)
    y = np.where(y + offset < rows, y + offset, y - offset)
    return y * columns + x


def test_photographs_come_back(tokenizer, crops):
    assert psnr(tokenizer.decode(tokenizer.encode(crops)), crops) > 20


def test_a_step_on_the_map_is_a_small_change(tokenizer, crops):
    tokens = tokenizer.encode(crops)
    by_offset = [psnr(tokenizer.decode(shifted(tokens, offset)), crops) for offset in range(5)]
    assert by_offset == sorted(by_offset, reverse=True), "the farther on the map, the farther the image"
    random = psnr(tokenizer.decode(np.random.default_rng(0).permutation(512)[tokens]), crops)
    assert by_offset[1] > random + 4


def test_the_map_is_ordered(tokenizer):
    quality = tokenizer.manifest.metrics["map"]
    assert quality["topographic_error_8"] < 0.75 < 0.98 < quality["topographic_error_8_null"]
    vectors = tokenizer.codebook.vectors.reshape(16, 32, -1)
    next_on_map = np.linalg.norm(np.diff(vectors, axis=1), axis=-1).mean()
    shuffled = np.random.default_rng(0).permutation(tokenizer.codebook.vectors).reshape(16, 32, -1)
    assert next_on_map < 0.6 * np.linalg.norm(np.diff(shuffled, axis=1), axis=-1).mean()


@pytest.mark.skipif(
    not CIFAR10_JPEG.is_file(), reason="CIFAR-10 (JPEG copy) is not here; set TEST_CIFAR10_JPEG"
)
def test_figures_of_the_card_hold_on_test_images(tokenizer):
    images = []
    with tarfile.open(CIFAR10_JPEG) as archive:
        for member in archive:
            if member.isfile() and "/test/" in member.name and int(Path(member.name).stem[-4:]) % 10 == 0:
                file = archive.extractfile(member)
                assert file is not None
                images.append(np.asarray(Image.open(BytesIO(file.read())).convert("RGB")))
    pixels = np.stack(images)
    assert len(pixels) >= 500
    tokens = tokenizer.encode(pixels)
    metrics = tokenizer.manifest.metrics
    assert psnr(tokenizer.decode(tokens), pixels) == pytest.approx(metrics["psnr"], abs=0.3)
    assert psnr(tokenizer.decode(shifted(tokens, 1)), pixels) == pytest.approx(
        metrics["psnr_by_offset"][1], abs=0.3
    )
    assert len(np.unique(tokens)) >= 0.95 * 512


@pytest.fixture(scope="module")
def two_levels():
    return Tokenizer.load(ROOT / "bundles" / "imagenet-sample-ksom-512", num_threads=1)


def test_photographs_come_back_from_two_levels(two_levels, crop_photos):
    photos = crop_photos(4, size=256)
    tokens = two_levels.encode(photos)
    assert {level: grid.shape for level, grid in tokens.items()} == {
        "top": (4, 32, 32),
        "bottom": (4, 64, 64),
    }
    assert psnr(two_levels.decode(tokens), photos) > 22
    moved = {level: tokens | {level: shifted(tokens[level], 1)} for level in tokens}
    random = np.random.default_rng(0).permutation(512)
    shuffled = {level: tokens | {level: random[tokens[level]]} for level in tokens}
    for level in tokens:
        by_map, by_chance = (psnr(two_levels.decode(changed[level]), photos) for changed in (moved, shuffled))
        assert by_map > by_chance + (4 if level == "bottom" else 0.3)
