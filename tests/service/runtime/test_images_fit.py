"""Images brought to the size of the model, and written as PNG."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from kohonen_tokenizer.service.errors import ImageSizeError, ParameterError, PixelsError
from kohonen_tokenizer.service.runtime.images import encode_png, fit

from ..image_files import decoded


class TestFit:
    def test_an_image_of_the_right_size_passes_untouched(self, pixels: np.ndarray) -> None:
        for resize in ("crop", "squash", "strict"):
            assert fit(pixels, height=6, width=9, resize=resize) is pixels

    @pytest.mark.parametrize("shape", [(80, 120), (120, 80), (8, 8), (16, 8), (5, 7), (1, 50), (33, 100)])
    @pytest.mark.parametrize("resize", ["crop", "squash"])
    @pytest.mark.parametrize("target", [(8, 8), (8, 16), (64, 64)])
    def test_every_image_gets_the_size_that_was_asked_for(
        self, shape: tuple[int, int], resize: Any, target: tuple[int, int]
    ) -> None:
        image = np.full((*shape, 3), 93, dtype=np.uint8)
        height, width = target
        fitted = fit(image, height=height, width=width, resize=resize)
        np.testing.assert_array_equal(fitted, np.full((height, width, 3), 93))

    @pytest.mark.parametrize("turn", [False, True])
    def test_crop_keeps_the_center(self, turn: bool) -> None:
        # Three squares side by side: only the middle one is left, its edges a little blurred by the filter.
        image = np.repeat([[[255, 0, 0]] * 32 + [[0, 255, 0]] * 32 + [[0, 0, 255]] * 32], 32, axis=0)
        image = image.astype(np.uint8)
        if turn:
            image = np.ascontiguousarray(image.swapaxes(0, 1))
        fitted = fit(image, height=8, width=8, resize="crop")
        np.testing.assert_array_equal(fitted[1:-1, 1:-1], np.full((6, 6, 3), (0, 255, 0)))
        assert fitted[:, :, 1].min() > 200

    def test_squash_keeps_everything(self) -> None:
        image = np.repeat([[[255, 0, 0]] * 32 + [[0, 255, 0]] * 32 + [[0, 0, 255]] * 32], 32, axis=0)
        fitted = fit(image.astype(np.uint8), height=9, width=9, resize="squash")
        assert fitted[4, [1, 4, 7]].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]

    def test_crop_scales_the_short_side_and_cuts_the_long_one(self, photograph: np.ndarray) -> None:
        # 80 x 120 to 20 x 20: a quarter of the size, then 5 columns off each side.
        fitted = fit(photograph, height=20, width=20, resize="crop")
        whole = np.asarray(Image.fromarray(photograph).resize((30, 20), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(fitted, whole[:, 5:-5])

    def test_shrinking_does_not_alias(self) -> None:
        # Columns of black and white, finer than the target can show, become gray and not stripes.
        stripes = np.zeros((128, 128, 3), dtype=np.uint8)
        stripes[:, ::2] = 255
        fitted = fit(stripes, height=8, width=8, resize="crop").astype(int)
        assert np.abs(fitted - 127.5).max() < 4

    def test_strict_refuses_another_size(self, pixels: np.ndarray) -> None:
        with pytest.raises(ImageSizeError, match="the image is 9 x 6, and this model takes 8 x 8"):
            fit(pixels, height=8, width=8, resize="strict")

    def test_an_unknown_way(self, pixels: np.ndarray) -> None:
        resize: Any = "stretch"
        with pytest.raises(ParameterError, match="resize is 'stretch'"):
            fit(pixels, height=8, width=8, resize=resize)


class TestEncodePng:
    def test_what_is_encoded_decodes_to_the_same_pixels(self, photograph: np.ndarray) -> None:
        data = encode_png(photograph)
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        np.testing.assert_array_equal(decoded(data), photograph)
        np.testing.assert_array_equal(decoded(encode_png(photograph[::2, ::-1])), photograph[::2, ::-1])

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((2, 2, 3), dtype=np.float32),
            np.zeros((2, 2), dtype=np.uint8),
            np.zeros((2, 2, 4), dtype=np.uint8),
            np.zeros((0, 2, 3), dtype=np.uint8),
        ],
    )
    def test_what_is_no_image_is_refused(self, image: np.ndarray) -> None:
        with pytest.raises(PixelsError, match=r"a PNG takes uint8 \[H, W, 3\]"):
            encode_png(image)
