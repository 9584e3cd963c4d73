"""A model of two levels: one snippet for the tokenizer in this process and the one behind a URL."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import save

from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer
from kohonen_tokenizer_client import InputError
from kohonen_tokenizer_client.replies import read_grids
from kohonen_tokenizer_client.transport import Reply

from .conftest import assert_same_arrays
from .faulty_proxy import faulty_proxy


@pytest.fixture(scope="module")
def two_level_server(start_server, two_level_bundle):
    """A server of the bundle of two levels, whose limit a few images reach."""
    server = start_server(two_level_bundle, max_images=16)
    yield server
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="module")
def two_levels(two_level_bundle):
    """Its tokenizer in this process."""
    return Tokenizer.load(two_level_bundle, num_threads=1)


@pytest.fixture(scope="module")
def models_server(start_server, tiny_bundle, two_level_bundle, tmp_path_factory):
    """A server of a model of one level and of the one of two."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_bundle, folder / "one" / "1")
    shutil.copytree(two_level_bundle, folder / "two" / "1")
    return start_server(models=folder)


def use(tokenizer, images):
    """What a user does with a tokenizer of the levels top and bottom, wherever it is."""
    tokens = tokenizer.encode(images)
    ends = [{name: grids[index] for name, grids in tokens.items()} for index in (0, 1)]
    none = {name: grids[:0].astype(np.uint16) for name, grids in tokens.items()}
    moved = tokenizer.perturb(tokens, offset=(1, -2), edge="reflect", level="top")
    path = tokenizer.interpolate(*ends, num_steps=5)
    path_of_top = tokenizer.interpolate(*ends, num_steps=3, level="top")
    results = {
        "decoded": tokenizer.decode(tokens),
        "no images": tokenizer.decode(none),
        "bottom moved": tokenizer.perturb(tokens["bottom"], offset=(3,), level="bottom"),
        "path of bottom": tokenizer.interpolate(
            ends[0]["bottom"], ends[1]["bottom"], num_steps=4, level="bottom"
        ),
    }
    by_level = {
        "tokens": tokens,
        "no tokens": tokenizer.encode(images[:0]),
        "moved": moved,
        "one moved": tokenizer.perturb(ends[0], offset=(-2,), level="bottom"),
        "none moved": tokenizer.perturb(none, offset=(1, 0), level="top"),
        "path": path,
        "path of top": path_of_top,
        "weights": {name: tokenizer.soft_targets(tokens[name][:3], sigma=0.7, level=name) for name in tokens},
        "all weights": {name: tokenizer.soft_targets(sigma=2.0, level=name) for name in tokens},
        "no weights": {name: tokenizer.soft_targets(none[name], sigma=2.0, level=name) for name in tokens},
        "vectors": {name: tokenizer.levels[name].codebook.vectors for name in tokens},
        "coordinates": {name: tokenizer.levels[name].codebook.coordinates for name in tokens},
    }
    for what, arrays in by_level.items():
        assert isinstance(arrays, dict), what
        results |= {f"{what} of {name}": array for name, array in arrays.items()}
    return results


def test_a_client_takes_the_place_of_a_tokenizer_of_two_levels(
    make_client, two_level_server, two_levels, random_images
):
    client = make_client(two_level_server.url, batch_size=8)
    expected, found = use(two_levels, random_images), use(client, random_images)
    assert_same_arrays(found, expected)
    for name, array in found.items():
        # The user's own, as from a computation.
        assert array.flags.writeable or name.startswith(("vectors", "coordinates")), name


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_neighbors_are_those_of_the_level(make_client, two_level_server, two_levels, level):
    client = make_client(two_level_server.url)
    near = [
        [(one.token, one.coordinates, one.grid_distance, one.codebook_distance) for one in neighbors]
        for side in (client, two_levels)
        for neighbors in (side.neighbors(5, radius=2, level=level), side.neighbors(0, k=3, level=level))
    ]
    assert near[:2] == near[2:]


def test_a_client_knows_of_its_levels_what_the_tokenizer_knows(make_client, two_level_server, two_levels):
    client = make_client(two_level_server.url)
    assert client.identity == two_levels.identity
    assert client.image_shape == two_levels.image_shape
    assert list(client.levels) == list(two_levels.levels)
    for name, one in two_levels.levels.items():
        assert client.levels[name].codebook.sha256 == one.codebook.sha256
        for field in ("name", "latent_grid", "map_shape", "map_topology", "codebook_size", "code_dim"):
            assert getattr(client.levels[name].level, field) == getattr(one.level, field), field
    (model,) = client.models()
    assert [level.name for level in model.levels] == ["top", "bottom"]


def test_the_hash_of_the_codebooks_is_expected_of_the_service(make_client, two_level_server, two_levels):
    with faulty_proxy(two_level_server.url) as proxy:
        make_client(proxy.url).neighbors(0, level="top")
    assert proxy.headers("x-expect-codebook-hash") == [two_levels.identity["codebook_hash"]]


def test_images_are_encoded_one_by_one(make_client, two_level_server, two_levels, random_images):
    client = make_client(two_level_server.url, batch_size=3)
    expected = two_levels.encode(random_images[:10])
    grids = list(client.encode_stream(iter(random_images[:10])))
    assert [grid.keys() for grid in grids] == [expected.keys()] * 10
    for name, array in expected.items():
        np.testing.assert_array_equal(np.stack([grid[name] for grid in grids]), array)


def test_batches_that_are_too_large_are_halved(make_client, two_level_server, two_levels, random_images):
    client = make_client(two_level_server.url, batch_size=40, concurrency=1)
    tokens = client.encode(random_images)
    np.testing.assert_array_equal(client.decode(tokens), two_levels.decode(tokens))
    client = make_client(two_level_server.url, batch_size=40, concurrency=1)
    np.testing.assert_array_equal(client.decode(tokens), two_levels.decode(tokens))


def test_a_token_out_of_range_is_named(make_client, two_level_server):
    tokens = {"top": np.zeros((20, 1, 1), np.int64), "bottom": np.zeros((20, 2, 2), np.uint8)}
    tokens["top"][13] = 2**40
    with pytest.raises(InputError) as caught:
        make_client(two_level_server.url, batch_size=4).decode(tokens)
    assert (caught.value.code, caught.value.index) == ("token_out_of_range", 13)


TOP, BOTTOM = np.zeros((2, 1, 1), np.int32), np.zeros((2, 2, 2), np.int32)
BOTH = {"top": TOP, "bottom": BOTTOM}
ONE = {"top": TOP[0], "bottom": BOTTOM[0]}


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda side: side.level, "invalid_parameter"),
        (lambda side: side.codebook, "invalid_parameter"),
        (lambda side: side.decode(BOTTOM), "invalid_tokens"),
        (lambda side: side.decode(BOTTOM[:0]), "invalid_tokens"),
        (lambda side: side.decode({"bottom": BOTTOM}), "invalid_tokens"),
        (lambda side: side.decode({}), "invalid_tokens"),
        (lambda side: side.decode(BOTH | {"middle": TOP}), "invalid_tokens"),
        (lambda side: side.decode({"top": TOP[:1], "bottom": BOTTOM}), "invalid_tokens"),
        (lambda side: side.decode({"top": TOP, "bottom": TOP}), "invalid_tokens"),
        (lambda side: side.decode({"top": TOP, "bottom": [[0]]}), "invalid_tokens"),
        (lambda side: side.decode({"top": TOP, "bottom": BOTTOM + 12}), "token_out_of_range"),
        (lambda side: side.neighbors(0), "invalid_parameter"),
        (lambda side: side.neighbors(0, level="middle"), "invalid_parameter"),
        (lambda side: side.soft_targets(sigma=1.0), "invalid_parameter"),
        (lambda side: side.soft_targets(BOTTOM[:0], sigma=1.0, level="middle"), "invalid_parameter"),
        (lambda side: side.perturb(BOTTOM, offset=(1,)), "invalid_parameter"),
        (lambda side: side.perturb(BOTTOM, offset=(1, 1), level="bottom"), "invalid_parameter"),
        (lambda side: side.perturb(BOTH, offset=(1, 1)), "invalid_parameter"),
        (lambda side: side.perturb(BOTH, offset=(1,), level="middle"), "invalid_parameter"),
        (lambda side: side.interpolate(ONE, BOTTOM[0], num_steps=3), "invalid_tokens"),
        (lambda side: side.interpolate(BOTTOM[0], ONE, num_steps=3, level="bottom"), "invalid_tokens"),
        (lambda side: side.interpolate(BOTTOM[0], BOTTOM[0], num_steps=3), "invalid_parameter"),
    ],
)
def test_both_refuse_the_same_with_the_same_code(make_client, two_level_server, two_levels, call, code):
    for side in (two_levels, make_client(two_level_server.url)):
        with pytest.raises(Exception, match=r"\w") as caught:
            call(side)
        assert caught.value.code == code, side


def test_models_of_one_level_and_of_two_beside_each_other(
    make_client, models_server, tokenizer, two_levels, random_images
):
    one, two = (make_client(models_server.url, model=name) for name in ("one", "two"))
    assert [len(model.levels) for model in one.models()] == [1, 2]
    np.testing.assert_array_equal(one.encode(random_images), tokenizer.encode(random_images))
    np.testing.assert_array_equal(two.encode(random_images)["top"], two_levels.encode(random_images)["top"])
    # By the name of its level, the tokenizer in this process takes them too.
    tokens = {"tokens": tokenizer.encode(random_images)}
    np.testing.assert_array_equal(one.decode(tokens), tokenizer.decode(tokens))
    moved = one.perturb(tokens, offset=(1, 0))
    assert moved.keys() == tokens.keys()
    np.testing.assert_array_equal(moved["tokens"], tokenizer.perturb(tokens, offset=(1, 0))["tokens"])


GOOD = {"tokens_top": TOP, "tokens_bottom": BOTTOM}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        save(GOOD)[:-1],
        save({"tokens_top": TOP}),
        save(GOOD | {"tokens_middle": TOP}),
        save(GOOD | {"tokens_top": TOP[0]}),
        save(GOOD | {"tokens_top": TOP[:1]}),
        save(GOOD | {"tokens_top": TOP.astype(np.float32)}),
    ],
)
def test_what_holds_no_grids_of_both_levels_is_no_reply(content):
    reply = Reply(status=200, headers={}, content=content)
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_grids(reply, levels=["top", "bottom"])
    assert len(read_grids(Reply(status=200, headers={}, content=save(GOOD)), levels=["top", "bottom"])) == 2
