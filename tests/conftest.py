"""Real images that every clone has, crops of the photographs that scikit-learn carries; and the command."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from kohonen_tokenizer.cli import main


@pytest.fixture(scope="session")
def crop_photos():
    """A function of a count and a size: that many crops, uint8 [count, size, size, 3], the same at each call.

    The two photographs take turns. With ``reduce`` they are first made smaller by that factor.
    """

    def crop(count, *, size, reduce=1):
        rng = np.random.default_rng(0)
        photos = [np.asarray(Image.fromarray(photo).reduce(reduce)) for photo in load_sample_images().images]
        crops = []
        for number in range(count):
            photo = photos[number % 2]
            y, x = (rng.integers(0, side - size) for side in photo.shape[:2])
            crops.append(photo[y : y + size, x : x + size])
        return np.stack(crops)

    return crop


@pytest.fixture
def run(capsys):
    """Run the command in this process: a function of its arguments to its status, stdout and stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return call
