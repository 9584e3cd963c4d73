"""The example from images to new images, as its README runs it, on the tiny bundle and with few steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..service.conftest import random_images, tiny_bundle, tiny_files, tiny_model

__all__ = ["random_images", "tiny_bundle", "tiny_files", "tiny_model"]

pytest.importorskip("transformers", reason="transformers is not installed; pip install '.[examples]'")

ROOT = Path(__file__).parents[2]


def test_the_example_goes_from_images_to_new_images(
    tmp_path: Path, tiny_bundle: Path, random_images: np.ndarray
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number, image in enumerate(random_images):
        Image.fromarray(image).save(photos / f"{number:03d}.png")
    options = {
        "out": out,
        "bundle": tiny_bundle,
        "num-held-out": 20,
        "steps": 20,
        "batch-size": 8,
        "hidden": 16,
        "layers": 1,
        "heads": 2,
        "num-samples": 9,
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "examples.prior", str(photos), *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    bits = json.loads((out / "bits.json").read_text())
    assert bits["baselines"]["uniform"] == pytest.approx(np.log2(12))
    assert (bits["num_train"], bits["num_held_out"]) == (50, 20)
    assert list(bits["transformer"]) == [str(step) for step in range(2, 21, 2)]
    assert all(0 < value < 5 for value in bits["transformer"].values())
    with Image.open(out / "samples.png") as samples:
        # Two rows of eight images of 8 x 8 with gaps of 2, doubled.
        assert samples.size == (2 * (8 * 10 - 2), 2 * (2 * 10 - 2))
    with Image.open(out / "bits.png") as plot:
        assert plot.size == (600, 400)
