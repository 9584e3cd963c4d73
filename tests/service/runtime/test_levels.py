"""Bundles of two levels of tokens: each with its own grid, codebook and map."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from kohonen_tokenizer.service.errors import GraphError, ParameterError, TokenRangeError, TokensError
from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.manifest import ImageSpec
from kohonen_tokenizer.service.runtime.onnx_backend import OnnxBackend
from kohonen_tokenizer.service.runtime.tensors import TensorGroup, TensorSpec, pixels_group, tokens_group
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(two_level_bundle: Path) -> Tokenizer:
    return Tokenizer.load(two_level_bundle, num_threads=1)


@pytest.fixture
def tokens() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    return {"top": generator.integers(0, 12, (70, 1, 1)), "bottom": generator.integers(0, 12, (70, 2, 2))}


def test_encode_gives_each_level_by_name(tokenizer, tiny_model, random_images):
    tokens = tokenizer.encode(random_images)
    assert list(tokens) == ["top", "bottom"]
    assert np.array_equal(tokens["bottom"], tiny_model.encode(random_images))
    means = random_images.reshape(70, -1, 3).astype(float).mean(axis=1)
    distances = np.square(means[:, None] - tiny_model.vectors).sum(axis=2)
    assert np.array_equal(tokens["top"], distances.argmin(axis=1).reshape(70, 1, 1))
    assert {grid.dtype for grid in tokens.values()} == {np.dtype(np.int32)}


def test_decode_takes_what_encode_gives_in_any_order(tokenizer, tiny_model, tokens):
    images = tokenizer.decode({"bottom": tokens["bottom"], "top": tokens["top"]})
    top = tiny_model.vectors[tokens["top"]].repeat(8, axis=1).repeat(8, axis=2)
    bottom = tiny_model.vectors[tokens["bottom"]].repeat(4, axis=1).repeat(4, axis=2)
    assert np.array_equal(images, ((top + bottom) / 2).astype(np.uint8))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda tokens: tokens["bottom"],
            TokensError,
            r"tokens are int64 \[70, 2, 2\]; .* of top, bottom by",
        ),
        (
            lambda tokens: {"top": tokens["top"]},
            TokensError,
            r"\['top'\]; this model takes those of top, bot",
        ),
        (lambda tokens: tokens | {"middle": tokens["top"]}, TokensError, "'middle'"),
        (lambda tokens: tokens | {"top": tokens["top"][:3]}, TokensError, r"\(top 3, bottom 70\)"),
        (lambda tokens: tokens | {"top": tokens["bottom"]}, TokensError, r"takes integers \[B, 1, 1\]"),
        (lambda tokens: tokens | {"top": tokens["top"] + 12}, TokenRangeError, "outside 0 to 11"),
    ],
)
def test_other_tokens_are_refused_in_one_line(tokenizer, tokens, change, error, message):
    with pytest.raises(error, match=message):
        tokenizer.decode(change(tokens))


def test_no_images_have_no_tokens_and_back(tokenizer, random_images):
    tokens = tokenizer.encode(random_images[:0])
    assert {name: grids.shape for name, grids in tokens.items()} == {"top": (0, 1, 1), "bottom": (0, 2, 2)}
    assert tokenizer.decode(tokens).shape == (0, 8, 8, 3)


def test_rows_hold_every_level_and_split_into_them_again(tokenizer, random_images, tokens):
    rows = tokenizer.check_tokens(tokens)
    assert rows.shape == (70, *tokenizer.token_shape) == (70, 5)
    for name, grid in tokenizer.split_rows(rows).items():
        assert np.array_equal(grid, tokens[name])
    by_level = tokenizer.encode(random_images)
    assert np.array_equal(tokenizer.encode_rows(random_images), tokenizer.check_tokens(by_level))


def test_neighbors_are_those_on_the_map_of_the_level(tokenizer):
    on_the_grid = {neighbor.token for neighbor in tokenizer.neighbors(5, radius=1, level="top")}
    on_the_line = {neighbor.token for neighbor in tokenizer.neighbors(5, radius=1, level="bottom")}
    assert on_the_grid == {1, 4, 6, 9}
    assert on_the_line == {4, 6}


def test_a_level_has_to_be_named_where_there_are_several(tokenizer):
    with pytest.raises(ParameterError, match="no level is named; this model has top, bottom"):
        tokenizer.neighbors(5)
    with pytest.raises(ParameterError, match="level 'middle' is unknown; this model has top, bottom"):
        tokenizer.neighbors(5, level="middle")
    with pytest.raises(ParameterError, match="no level is named"):
        _ = tokenizer.codebook


def test_a_model_of_one_level_takes_its_name_too(tiny_bundle):
    one = Tokenizer.load(tiny_bundle, num_threads=1)
    assert one.neighbors(5, level="tokens") == one.neighbors(5)
    assert one.identity["codebook_hash"] == one.codebook.sha256


def test_the_identity_is_a_hash_of_both_codebooks(tokenizer):
    lines = [f"{name} {level.codebook.sha256}\n" for name, level in tokenizer.levels.items()]
    assert tokenizer.identity["codebook_hash"] == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_map_image_varies_one_level_and_holds_the_other(tokenizer, tiny_model):
    sheet = tokenizer.map_image(level="top", others={"bottom": 3})
    assert sheet.shape == (3 * 8, 4 * 8, 3)
    for token, color in enumerate(tiny_model.vectors):
        y, x = divmod(token, 4)
        expected = ((color + tiny_model.vectors[3]) / 2).astype(np.uint8)
        assert (sheet[8 * y : 8 * y + 8, 8 * x : 8 * x + 8] == expected).all()
    line = tokenizer.map_image(level="bottom")
    assert line.shape == (8, 12 * 8, 3)
    # A 1-D map is one row; the other level stands in the middle of its own, x 2 and y 1.
    expected = ((tiny_model.vectors + tiny_model.vectors[6]) / 2).astype(np.uint8)
    assert np.array_equal(line[4, 4::8], expected)


def test_a_map_image_of_smaller_tiles_has_the_middle_of_each(tokenizer):
    whole = tokenizer.map_image(level="top").reshape(3, 8, 4, 8, 3)
    tiles = tokenizer.map_image(level="top", max_tile=4).reshape(3, 4, 4, 4, 3)
    assert np.array_equal(tiles, whole[:, 2:6, :, 2:6])
    assert np.array_equal(tokenizer.map_image(level="top", max_tile=9), whole.reshape(24, 32, 3))


@pytest.mark.parametrize(
    ("wrong", "error"), [(2**32 + 5, TokenRangeError), (1.7, TokensError), ("x", TokensError)]
)
def test_levels_that_stay_are_checked_too(tokenizer, wrong, error):
    tokens = tokenizer.encode(np.zeros((1, 8, 8, 3), dtype=np.uint8))
    for level in tokens:
        broken = tokens | {name: np.full(grid.shape, wrong) for name, grid in tokens.items() if name != level}
        with pytest.raises(error):
            tokenizer.perturb(broken, offset=(1, 0) if level == "top" else (1,), level=level)
        with pytest.raises(error):
            tokenizer.interpolate(tokens, broken, num_steps=3, level=level)


def test_a_group_of_tensors_shares_rows():
    group = TensorGroup(
        (
            TensorSpec(name="a", dtype="int32", shape=(1, 2)),
            TensorSpec(name="b", dtype="int32", shape=(3,)),
        )
    )
    rows = group.zeros(4)
    a, b = group.unpack(rows)
    a[:], b[:] = 1, 2
    assert rows.tolist() == [[1, 1, 2, 2, 2]] * 4, "the parts are views: a GPU's buffers are filled by them"
    assert np.array_equal(group.pack([a, b]), rows)
    assert str(group) == "a int32 [B, 1, 2], b int32 [B, 3]"


def test_graphs_of_other_levels_than_the_manifests_are_refused(two_level_bundle, tiny_bundle):
    bundle, other = load_bundle(two_level_bundle), load_bundle(tiny_bundle)
    object.__setattr__(bundle, "encoder", other.encoder)
    with pytest.raises(
        GraphError, match=r"output is tokens .* asks for tokens_top int32 \[B, 1, 1\], tokens_"
    ):
        OnnxBackend.load(bundle, num_threads=1)
    assert str(pixels_group(ImageSpec(height=8, width=8))) == "pixels uint8 [B, 8, 8, 3]"
    assert tokens_group(bundle.manifest.levels).shape == (5,)


def test_every_level_moves_on_its_own_map_or_one_alone(tokenizer):
    tokens = {"top": np.array([[[5]]]), "bottom": np.array([[[0, 1], [10, 11]]])}
    moved = tokenizer.perturb(tokens, offset=(1, 1), level="top")
    assert moved["top"].tolist() == [[[10]]], "one to the right and one down, on rows of four"
    assert moved["bottom"].tolist() == tokens["bottom"].tolist()
    moved = tokenizer.perturb(tokens, offset=(2,), level="bottom")
    assert moved["bottom"].tolist() == [[[2, 3], [11, 11]]]
    assert list(moved) == ["top", "bottom"]
    with pytest.raises(ParameterError, match="level bottom: offset has 2 steps and the map 1 axes"):
        tokenizer.perturb(tokens, offset=(1, 1))
    with pytest.raises(TokensError, match="takes those of top, bottom by name"):
        tokenizer.perturb({"top": tokens["top"]}, offset=(1, 1))


def test_a_path_of_levels_leads_over_each_map_or_over_one(tokenizer):
    start = {"top": np.array([[0]]), "bottom": np.zeros((2, 2), int)}
    end = {"top": np.array([[10]]), "bottom": np.full((2, 2), 4)}
    path = tokenizer.interpolate(start, end, num_steps=3)
    assert path["top"].ravel().tolist() == [0, 5, 10], "over (1, 1) on rows of four"
    assert path["bottom"][:, 0, 0].tolist() == [0, 2, 4]
    alone = tokenizer.interpolate(start, end, num_steps=3, level="bottom")
    assert alone["top"].ravel().tolist() == [0, 0, 0]
    assert np.array_equal(alone["bottom"], path["bottom"])
    with pytest.raises(TokensError, match="takes those of top, bottom by name"):
        tokenizer.interpolate(start, end["bottom"], num_steps=3)
