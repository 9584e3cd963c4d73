"""Each hostile image gets its answer from the decoder: the pixels that it must have, or the right error."""

import numpy as np
import pytest

from kohonen_tokenizer.service.runtime.images import decode_image

from ..hostile_images import MAX_PIXELS, HostileImage, hostile_images


@pytest.mark.parametrize("image", hostile_images(), ids=lambda image: image.name)
def test_a_hostile_image_gets_its_answer(image: HostileImage) -> None:
    if isinstance(image.answer, np.ndarray):
        pixels = decode_image(image.data, max_pixels=MAX_PIXELS)
        assert pixels.dtype == np.uint8
        assert pixels.shape == image.answer.shape
        assert np.abs(pixels.astype(int) - image.answer).max() <= image.tolerance
    else:
        with pytest.raises(image.answer) as refusal:
            decode_image(image.data, max_pixels=MAX_PIXELS)
        assert refusal.type is image.answer
        assert len(refusal.value.message) < 300
