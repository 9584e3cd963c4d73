"""One snippet for the tokenizer in this process and the one behind a URL: same names, shapes and values."""

import numpy as np
import pytest

from .conftest import assert_same_arrays


def use(tokenizer, images):
    """What a user does with a tokenizer, wherever it is."""
    tokens = tokenizer.encode(images)
    decoded = tokenizer.decode(tokens)
    moved = tokenizer.perturb(tokens, offset=(1, -2), edge="reflect")
    path = tokenizer.interpolate(tokens[0], moved[1], num_steps=5)
    return {
        "tokens": tokens,
        "decoded": decoded,
        "no tokens": tokenizer.encode(images[:0]),
        "no images": tokenizer.decode(tokens[:0].astype(np.uint16)),
        "moved": moved,
        "one moved": tokenizer.perturb(tokens[3], offset=(1, 0)),
        "none moved": tokenizer.perturb(tokens[:0], offset=(1, 0)),
        "path": path,
        "weights": tokenizer.soft_targets(tokens[:3], sigma=0.7),
        "all weights": tokenizer.soft_targets(sigma=2.0),
        "no weights": tokenizer.soft_targets(tokens[:0], sigma=2.0),
        "vectors": tokenizer.codebook.vectors,
        "coordinates": tokenizer.codebook.coordinates,
    }


def near(tokenizer):
    """Neighbors, as plain tuples: each side has a class of its own."""
    return [
        [(near.token, near.coordinates, near.grid_distance, near.codebook_distance) for near in neighbors]
        for neighbors in (
            tokenizer.neighbors(5),
            tokenizer.neighbors(np.int64(0), radius=2.5),
            tokenizer.neighbors(11, k=3, by="codebook"),
        )
    ]


def test_a_client_takes_the_place_of_the_tokenizer(make_client, server, tokenizer, random_images):
    client = make_client(server.url, batch_size=8)
    expected, found = use(tokenizer, random_images), use(client, random_images)
    assert_same_arrays(found, expected)
    for name, array in found.items():
        # The user's own, as from a computation.
        assert array.flags.writeable or name in ("vectors", "coordinates"), name
    assert near(client) == near(tokenizer)


def test_a_client_knows_of_its_model_what_the_tokenizer_knows(make_client, server, tokenizer):
    client = make_client(server.url)
    assert client.identity == tokenizer.identity
    assert client.image_shape == tokenizer.image_shape
    assert client.codebook.sha256 == tokenizer.codebook.sha256
    for name in ("latent_grid", "map_shape", "map_topology", "codebook_size", "code_dim"):
        assert getattr(client.level, name) == getattr(tokenizer.level, name), name
    (model,) = client.models()
    assert (model.name, model.level, model.image_shape) == ("tiny-colors", client.level, (8, 8, 3))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda side: side.encode(np.zeros((2, 8, 8), np.uint8)), "invalid_pixels"),
        (lambda side: side.encode(np.zeros((2, 8, 8, 3), np.float32)), "invalid_pixels"),
        (lambda side: side.decode(np.zeros((2, 2), np.int32)), "invalid_tokens"),
        (lambda side: side.decode([[[0, 0], [0, 0]]]), "invalid_tokens"),
        (lambda side: side.decode(np.zeros((1, 3, 2), np.int32)), "invalid_tokens"),
        (lambda side: side.decode(np.full((1, 2, 2), 12)), "token_out_of_range"),
        (lambda side: side.decode(np.full((1, 2, 2), -1)), "token_out_of_range"),
        (lambda side: side.neighbors(12), "token_out_of_range"),
        (lambda side: side.neighbors(0, radius=-1.0), "invalid_parameter"),
        (lambda side: side.perturb(np.zeros((1, 2, 2), int), offset=(1,)), "invalid_parameter"),
        (lambda side: side.soft_targets(sigma=0.0), "invalid_parameter"),
        (lambda side: side.soft_targets(np.zeros(3), sigma=1.0), "invalid_tokens"),
    ],
)
def test_both_refuse_the_same_with_the_same_code(make_client, server, tokenizer, call, code):
    for side in (tokenizer, make_client(server.url)):
        with pytest.raises(Exception, match=r"\w") as caught:
            call(side)
        assert caught.value.code == code, side
