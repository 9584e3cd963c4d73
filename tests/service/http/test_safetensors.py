"""safetensors over HTTP: images and tokens in and out, whose they are, and what is refused."""

import numpy as np
import pytest
from safetensors.numpy import load, save

from kohonen_tokenizer.service.errors import ParameterError
from kohonen_tokenizer.service.http.routes.encode import EncodeParameters
from kohonen_tokenizer.service.safetensors_bytes import read_safetensors

TYPE = "application/x-safetensors"
SENT = {"Content-Type": TYPE}
BOTH = SENT | {"Accept": TYPE}


@pytest.fixture(scope="module")
def identity(tokenizer):
    """What the metadata of every reply say, beside the version."""
    return {"model": "tiny-colors", "codebook_hash": tokenizer.codebook.sha256}


@pytest.mark.parametrize("dtype", ["int32", "uint16"])
def test_images_in_and_tokens_out(client, random_images, tiny_model, identity, dtype):
    reply = client.post(
        "/encode", params={"dtype": dtype}, content=save({"images": random_images}), headers=BOTH
    )
    assert reply.headers["content-type"] == TYPE
    assert reply.headers["x-model"] == "tiny-colors"
    named = read_safetensors(reply.content, name="tokens")
    assert named.tensor.dtype == np.dtype(dtype)
    assert np.array_equal(named.tensor, tiny_model.encode(random_images))
    assert named.metadata == {**identity, "model_version": reply.headers["x-model-version"]}


def test_tokens_in_and_images_out(client, random_images, tiny_model, identity):
    tokens = tiny_model.encode(random_images)
    expected = tiny_model.decode(tokens)
    for sent in (tokens, tokens.astype(np.uint16), tokens.astype(np.int64)):
        reply = client.post("/decode", content=save({"tokens": sent}), headers=BOTH)
        named = read_safetensors(reply.content, name="images")
        assert named.tensor.dtype == np.uint8
        assert np.array_equal(named.tensor, expected)
        assert named.metadata == {**identity, "model_version": reply.headers["x-model-version"]}
    one = client.post("/decode", content=save({"tokens": tokens[0]}), headers=BOTH)
    assert np.array_equal(load(one.content)["images"], expected[:1])


def test_images_of_another_size_are_fitted(client, photographs):
    images = np.stack([photographs[0][:20, :30], photographs[2][:20, :30]])
    reply = client.post("/encode", content=save({"images": images}), headers=SENT)
    assert np.shape(reply.json()["tokens"]) == (2, 2, 2)


def test_what_encode_replies_decode_takes_and_no_other_models(client, random_images, identity):
    encoded = client.post("/encode", content=save({"images": random_images}), headers=BOTH)
    assert client.post("/decode", content=encoded.content, headers=BOTH).status_code == 200
    tokens = load(encoded.content)
    for wrong, status in (({"model": "other"}, 404), ({"codebook_hash": "0" * 64}, 422)):
        content = save(tokens, metadata={**identity, **wrong})
        assert client.post("/decode", content=content, headers=BOTH).status_code == status


def test_uint16_in_npy(client, random_images, tiny_model, npy_file, read_npy):
    reply = client.post(
        "/encode",
        params={"dtype": "uint16"},
        content=npy_file(random_images),
        headers={"Content-Type": "application/x-npy", "Accept": "application/x-npy"},
    )
    tokens = read_npy(reply.content)
    assert tokens.dtype == np.dtype("<u2")
    assert np.array_equal(tokens, tiny_model.encode(random_images))


@pytest.mark.parametrize(
    ("path", "content", "status", "code"),
    [
        ("/encode", b"junk", 400, "malformed_body"),
        ("/encode", save({"pixels": np.zeros((1, 8, 8, 3), np.uint8)}), 400, "malformed_body"),
        ("/encode", save({"images": np.zeros((1, 8, 8, 3), np.float32)}), 400, "malformed_body"),
        ("/encode", save({"images": np.zeros((1, 8, 8, 3), np.int32)}), 422, "invalid_pixels"),
        ("/encode", save({"images": np.zeros((8, 8, 3), np.uint8)}), 422, "invalid_pixels"),
        ("/encode", save({"images": np.zeros((0, 8, 8, 3), np.uint8)}), 400, "malformed_body"),
        ("/encode", save({"images": np.zeros((257, 1, 1, 3), np.uint8)}), 413, "too_many_images"),
        ("/decode", save({"images": np.zeros((1, 2, 2), np.int32)}), 400, "malformed_body"),
        ("/decode", save({"tokens": np.zeros((1, 2, 2), np.float32)}), 400, "malformed_body"),
        ("/decode", save({"tokens": np.zeros((1, 2, 3), np.int32)}), 422, "invalid_tokens"),
        ("/decode", save({"tokens": np.full((1, 2, 2), 12, np.uint16)}), 422, "token_out_of_range"),
        ("/decode", save({"tokens": np.full((1, 2, 2), 2**64 - 1, np.uint64)}), 422, "token_out_of_range"),
    ],
)
def test_refusals(client, path, content, status, code):
    reply = client.post(path, content=content, headers=SENT)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_a_codebook_too_large_for_uint16_is_refused_before_any_work():
    parameters = EncodeParameters(dtype="uint16")
    parameters.check_codebook(2**16)
    with pytest.raises(ParameterError, match="65537 codes"):
        parameters.check_codebook(2**16 + 1)
    EncodeParameters().check_codebook(2**20)
