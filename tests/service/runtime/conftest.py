"""Pixels that image files are made from."""

import numpy as np
import pytest
from sklearn.datasets import load_sample_images


@pytest.fixture
def pixels() -> np.ndarray:
    """uint8 [6, 9, 3], all different."""
    return np.random.default_rng(0).permutation(6 * 9 * 3).astype(np.uint8).reshape(6, 9, 3)


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """A real image: uint8 [80, 120, 3] of a photograph."""
    photo: np.ndarray = load_sample_images().images[0][100:180, 200:320]
    return photo
