"""The tiny bundle must do, number by number, what the plain loops of `tiny_model` do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kohonen_tokenizer
from kohonen_tokenizer.service.errors import (
    BundleError,
    BundleFileError,
    PixelsError,
    TokenRangeError,
    TokensError,
)
from kohonen_tokenizer.service.runtime.bundle import Bundle, load_bundle
from kohonen_tokenizer.service.runtime.tokenizer import MAX_BATCH, Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_bundle: Path) -> Tokenizer:
    return Tokenizer.load(tiny_bundle)


@pytest.fixture
def random_tokens() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 12, size=(70, 2, 2))


def test_the_package_offers_the_tokenizer() -> None:
    assert kohonen_tokenizer.Tokenizer is Tokenizer
    with pytest.raises(AttributeError, match="no attribute 'Tokeniser'"):
        _ = kohonen_tokenizer.Tokeniser


def test_encode(tokenizer: Tokenizer, tiny_model: Any, random_images: np.ndarray) -> None:
    tokens = tokenizer.encode(random_images)
    assert tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens, tiny_model.encode(random_images))


def test_decode(tokenizer: Tokenizer, tiny_model: Any, random_tokens: np.ndarray) -> None:
    images = tokenizer.decode(random_tokens)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, tiny_model.decode(random_tokens))


def test_decoded_tokens_encode_to_themselves(tokenizer: Tokenizer, random_tokens: np.ndarray) -> None:
    np.testing.assert_array_equal(tokenizer.encode(tokenizer.decode(random_tokens)), random_tokens)


def test_no_images_give_no_tokens_and_back(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode(np.empty((0, 8, 8, 3), dtype=np.uint8)).shape == (0, 2, 2)
    assert tokenizer.decode(np.empty((0, 2, 2), dtype=np.int32)).shape == (0, 8, 8, 3)


class CountingBackend:
    """Answers with zeros and keeps the size of each batch."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        self.batches.append(len(pixels))
        return np.zeros((len(pixels), 2, 2), dtype=np.int32)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        assert tokens.dtype == np.int32
        self.batches.append(len(tokens))
        return np.zeros((len(tokens), 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(("num_images", "batches"), [(1, [1]), (64, [64]), (130, [64, 64, 2])])
def test_the_backend_sees_at_most_64_images_at_once(
    tiny_bundle: Path, num_images: int, batches: list[int]
) -> None:
    assert MAX_BATCH == 64
    bundle: Bundle = load_bundle(tiny_bundle)
    backend = CountingBackend()
    tokenizer = Tokenizer(bundle, backend=backend)
    tokenizer.encode(np.zeros((num_images, 8, 8, 3), dtype=np.uint8))
    tokenizer.decode(np.zeros((num_images, 2, 2), dtype=np.int64))
    assert backend.batches == batches * 2


def test_arrays_that_do_not_lie_in_order_in_memory(
    tokenizer: Tokenizer, tiny_model: Any, random_images: np.ndarray, random_tokens: np.ndarray
) -> None:
    images, tokens = random_images[::3, ::-1, :, ::-1], random_tokens[::3].swapaxes(1, 2)
    np.testing.assert_array_equal(tokenizer.encode(images), tiny_model.encode(images))
    np.testing.assert_array_equal(tokenizer.decode(tokens), tiny_model.decode(tokens))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", ">i4", "u4", "i8", "u8"])
def test_tokens_of_any_integer_type_decode(
    tokenizer: Tokenizer, tiny_model: Any, random_tokens: np.ndarray, dtype: str
) -> None:
    images = tokenizer.decode(random_tokens.astype(dtype))
    np.testing.assert_array_equal(images, tiny_model.decode(random_tokens))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 8, 8, 3), dtype=np.float32),
        np.zeros((1, 8, 8, 3), dtype=np.int8),
        np.zeros((8, 8, 3), dtype=np.uint8),
        np.zeros((1, 8, 9, 3), dtype=np.uint8),
        np.zeros((1, 8, 8, 4), dtype=np.uint8),
        np.zeros((1, 3, 8, 8), dtype=np.uint8),
    ],
)
def test_images_that_do_not_fit_are_refused(tokenizer: Tokenizer, images: np.ndarray) -> None:
    with pytest.raises(PixelsError, match=r"this model takes uint8 \[B, 8, 8, 3\]") as caught:
        tokenizer.encode(images)
    assert f"{images.dtype} {list(images.shape)}" in str(caught.value)


@pytest.mark.parametrize(
    "tokens",
    [
        np.zeros((1, 2, 2), dtype=np.float64),
        np.zeros((1, 2, 2), dtype=np.bool_),
        np.zeros((1, 2, 2), dtype=object),
        np.zeros((2, 2), dtype=np.int32),
        np.zeros((1, 2, 3), dtype=np.int32),
        np.zeros((1, 4), dtype=np.int32),
    ],
)
def test_tokens_that_do_not_fit_are_refused(tokenizer: Tokenizer, tokens: np.ndarray) -> None:
    with pytest.raises(TokensError, match=r"this model takes integers \[B, 2, 2\]") as caught:
        tokenizer.decode(tokens)
    assert f"{tokens.dtype} {list(tokens.shape)}" in str(caught.value)


@pytest.mark.parametrize(
    ("token", "dtype"),
    [(12, "i4"), (-1, "i4"), (-1, "i1"), (200, "u1"), (2**32, "i8"), (2**32 + 3, "u8"), (-(2**32), "i8")],
)
def test_a_token_that_is_no_code_is_refused_and_never_wrapped(
    tokenizer: Tokenizer, token: int, dtype: str
) -> None:
    tokens = np.zeros((3, 2, 2), dtype=dtype)
    tokens[1, 0, 1] = token
    with pytest.raises(TokenRangeError, match=rf"token {token} at \[1, 0, 1\] is outside 0 to 11"):
        tokenizer.decode(tokens)


def test_neighbors_are_those_of_the_map(tokenizer: Tokenizer) -> None:
    neighbors = tokenizer.neighbors(5)
    assert neighbors == tokenizer.topology.neighbors(5, radius=1.5)
    # Token 5 is at (1, 1); the colors differ by 80 and 10 along x and by 110 along y.
    assert [n.token for n in neighbors] == [4, 6, 1, 9, 0, 2, 8, 10]
    assert neighbors[0].coordinates == (0, 1)
    assert neighbors[0].codebook_distance == pytest.approx(np.hypot(80, 10))
    assert tokenizer.neighbors(5, k=1, by="codebook")[0].token == 4


def test_the_map_image_has_every_code_at_its_place(tokenizer: Tokenizer) -> None:
    image = tokenizer.map_image()
    assert image.shape == (3 * 8, 4 * 8, 3)
    assert image.dtype == np.uint8
    for token, vector in enumerate(tokenizer.codebook.vectors):
        x, y = token % 4, token // 4
        tile = image[8 * y : 8 * (y + 1), 8 * x : 8 * (x + 1)]
        np.testing.assert_array_equal(tile, np.broadcast_to(vector, (8, 8, 3)))


@pytest.mark.parametrize("values", [[[[0, 1], [2, 3]]], 7, None])
def test_what_is_no_array_is_refused_by_its_type(tokenizer: Tokenizer, values: Any) -> None:
    kind = f"of type {type(values).__name__} and no numpy array; this model takes "
    with pytest.raises(PixelsError, match=f"^images are {kind}uint8"):
        tokenizer.encode(values)
    with pytest.raises(TokensError, match=f"^tokens are {kind}integers"):
        tokenizer.decode(values)


def test_what_describes_the_model(tokenizer: Tokenizer, tiny_model: Any) -> None:
    assert tokenizer.manifest.name == "tiny-colors"
    assert tokenizer.level.latent_grid == (2, 2)
    np.testing.assert_array_equal(tokenizer.codebook.vectors, tiny_model.vectors)


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"^{tmp_path}/nowhere: nothing is there"):
        Tokenizer.load(tmp_path / "nowhere")


def test_a_broken_bundle_is_named_by_its_path(
    make_bundle: Callable[..., Path], tiny_files: dict[str, bytes]
) -> None:
    folder = make_bundle(tiny_files)
    (folder / "decoder.onnx").write_bytes(b"")
    with pytest.raises(BundleFileError, match=f"^{folder}: decoder.onnx has 0 bytes"):
        Tokenizer.load(str(folder))
