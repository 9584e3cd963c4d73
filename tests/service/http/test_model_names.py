"""Models served under other names than their manifests have: every reply says the name that requests use."""

import json
import shutil

import httpx
import numpy as np
import pytest
from safetensors import safe_open

from .other_bundles import write_reversed

TYPES = ["application/json", "application/x-safetensors"]


@pytest.fixture(scope="module")
def client(start_server, tiny_bundle, tmp_path_factory):
    """A client of two models, `first` and `second`, with equal graphs but for the order of the codes."""
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_bundle, models / "first" / "1")
    write_reversed(tiny_bundle, models / "second" / "7")
    assert json.loads((models / "first" / "1" / "manifest.json").read_text())["name"] == "tiny-colors"
    server = start_server(models=models)
    with httpx.Client(base_url=server.url) as client:
        yield client


def encode(client, image: bytes, *, model: str, media_type: str = "application/json") -> httpx.Response:
    headers = {"Content-Type": "image/png", "Accept": media_type}
    return client.post("/encode", params={"model": model}, content=image, headers=headers)


@pytest.fixture(scope="module")
def image(image_file) -> bytes:
    return image_file(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))


@pytest.mark.parametrize("model", ["first", "second"])
@pytest.mark.parametrize("media_type", TYPES)
def test_a_reply_of_encode_finds_its_model_again(client, image, model, media_type):
    encoded = encode(client, image, model=model, media_type=media_type)
    headers = {"Content-Type": media_type, "Accept": "application/x-npy"}
    decoded = client.post("/decode", content=encoded.content, headers=headers)
    assert decoded.headers["x-model"] == encoded.headers["x-model"] == model
    for path, parameters in (("/perturb", {"offset": [1, 0]}), ("/soft-targets", {})):
        reply = client.post(path, params=parameters, content=encoded.content, headers=headers)
        assert reply.headers["x-model"] == model


def test_every_reply_says_the_name_that_requests_use(client, image):
    tokens = encode(client, image, model="second").json()
    replies = [
        client.post("/decode", json=tokens, headers={"Accept": "application/json"}),
        client.post("/perturb", json=tokens, params={"offset": [0, 1]}),
        client.post("/soft-targets", json=tokens),
        *(
            client.get(path, params={"model": "second"} | parameters)
            for path, parameters in (
                ("/neighbors", {"token": 0}),
                ("/neighbors/table", {"k": 1}),
                ("/soft-targets", {}),
                ("/codebook", {}),
            )
        ),
    ]
    for reply in replies:
        assert reply.json()["model"] == "second", reply.url


def test_metadata_say_it_too(client, image, tmp_path):
    reply = encode(client, image, model="second", media_type="application/x-safetensors")
    file = tmp_path / "tokens.safetensors"
    file.write_bytes(reply.content)
    with safe_open(file, framework="numpy") as tensors:
        assert tensors.metadata()["model"] == "second"


def test_the_name_of_the_manifest_is_no_name_here(client, image):
    reply = encode(client, image, model="tiny-colors")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


def test_tokens_of_one_model_are_not_decoded_by_another(client, image):
    tokens = encode(client, image, model="first").json()
    reply = client.post("/decode", params={"model": "second"}, json=tokens)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_tokens")
    assert "of model 'first', and this model's is 'second'" in reply.json()["error"]["message"]
