"""Which model answers: by name, by codebook, with a key."""

import json
import shutil

import numpy as np
import pytest

from kohonen_tokenizer.service.http.auth import make_key
from kohonen_tokenizer_client import CodebookMismatchError, NotFoundError, UnauthorizedError

from ..service.http.other_bundles import write_reversed
from .faulty_proxy import faulty_proxy


@pytest.fixture(scope="module")
def models_server(start_server, tiny_bundle, tmp_path_factory):
    """A server of two models, which asks for a key."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_bundle, folder / "colors" / "1")
    write_reversed(tiny_bundle, folder / "reversed" / "1")
    key, entry = make_key("somebody", scopes=("use",))
    return start_server(models=folder, api_keys=json.dumps([entry.model_dump()])), key


@pytest.fixture(scope="module")
def other_server(start_server, tiny_bundle, tmp_path_factory):
    """A server of the same model with another codebook."""
    folder = tmp_path_factory.mktemp("other") / "reversed"
    write_reversed(tiny_bundle, folder)
    return start_server(folder)


def all_calls(client):
    """Each call that depends on the codebook."""
    images, tokens = np.zeros((3, 8, 8, 3), np.uint8), np.zeros((3, 2, 2), np.int32)
    return {
        "encode": lambda: client.encode(images),
        "stream": lambda: list(client.encode_stream(images)),
        "decode": lambda: client.decode(tokens),
        "neighbors": lambda: client.neighbors(0),
        "soft targets": lambda: client.soft_targets(sigma=1.0),
        "soft targets of tokens": lambda: client.soft_targets(tokens, sigma=1.0),
        "perturb": lambda: client.perturb(tokens, offset=(1, 0)),
        "interpolate": lambda: client.interpolate(tokens[0], tokens[1], num_steps=3),
        "codebook": lambda: client.codebook,
    }


def test_another_codebook_than_the_expected_one_is_refused_by_every_call(make_client, server):
    for name, call in all_calls(make_client(server.url, codebook_hash="0" * 64)).items():
        with pytest.raises(CodebookMismatchError) as caught:
            call()
        assert (caught.value.code, caught.value.status) == ("codebook_mismatch", 409), name


def test_the_expected_codebook_is_taken(make_client, server, tokenizer):
    calls = all_calls(make_client(server.url, codebook_hash=tokenizer.codebook.sha256))
    assert all(len(call()) > 0 for name, call in calls.items() if name != "codebook")


def test_a_model_that_changes_midway_ends_the_data_set(make_client, server, other_server, random_images):
    with faulty_proxy(server.url) as proxy:
        client = make_client(proxy.url, batch_size=4, concurrency=1)
        stream = client.encode_stream(random_images)
        next(stream)
        proxy.target = other_server.url
        with pytest.raises(CodebookMismatchError):
            list(stream)
        for name, call in all_calls(client).items():
            if name != "codebook":
                with pytest.raises(CodebookMismatchError):
                    call()
        # Whoever wants the other model makes a client for it.
        assert make_client(proxy.url).encode(random_images).shape == (70, 2, 2)


@pytest.mark.parametrize("name", ["colors", "reversed"])
def test_a_model_is_asked_by_its_name(make_client, models_server, random_images, tokenizer, name):
    server, key = models_server
    client = make_client(server.url, model=name, api_key=key)
    expected = tokenizer.encode(random_images)
    tokens = client.encode(random_images)
    np.testing.assert_array_equal(tokens, expected if name == "colors" else 11 - expected)
    np.testing.assert_array_equal(client.decode(tokens), tokenizer.decode(expected))
    assert client.identity["model"] == name
    assert [model.name for model in client.models()] == ["colors", "reversed"]
    assert all(len(call()) > 0 for call_name, call in all_calls(client).items() if call_name != "codebook")


def test_without_a_name_of_several_models_none_is_used(make_client, models_server):
    server, key = models_server
    for name in (None, "nobody"):
        with pytest.raises(NotFoundError, match="colors, reversed") as caught:
            make_client(server.url, model=name, api_key=key).neighbors(0)
        assert caught.value.code == "model_not_found"


def test_a_service_with_keys_wants_one(make_client, models_server):
    server, key = models_server
    for wrong in (None, key[:-1] + "!"):
        with pytest.raises(UnauthorizedError) as caught:
            make_client(server.url, api_key=wrong).models()
        assert (caught.value.code, caught.value.status) == ("unauthorized", 401)
