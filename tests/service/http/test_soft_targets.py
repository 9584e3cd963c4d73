"""GET and POST /soft-targets, on the tiny map of 3 rows and 4 columns."""

import numpy as np
import pytest
from safetensors.numpy import load

URL = "/soft-targets"
SAFETENSORS = {"Accept": "application/x-safetensors"}
NPY = {"Accept": "application/x-npy"}


def as_float32(rows):
    """The numbers of a JSON reply as the float32 that they were."""
    return np.array(rows, dtype=np.float64).astype(np.float32)


@pytest.mark.parametrize("query", [{}, {"sigma": 0.5}, {"sigma": 3}])
def test_every_token_and_all_codes(client, tokenizer, read_npy, query):
    expected = tokenizer.topology.soft_targets(sigma=query.get("sigma", 1.0))
    content = client.get(URL, params=query).json()
    assert set(content) == {"weights", "model", "codebook_hash"}
    assert content["codebook_hash"] == tokenizer.codebook.sha256
    assert np.array_equal(as_float32(content["weights"]), expected)
    assert np.array_equal(read_npy(client.get(URL, params=query, headers=NPY).content), expected)
    assert np.array_equal(
        load(client.get(URL, params=query, headers=SAFETENSORS).content)["weights"], expected
    )


@pytest.mark.parametrize("query", [{"radius": 1}, {"radius": 0}, {"k": 4, "sigma": 2}])
def test_every_token_and_some_codes(client, tokenizer, query):
    expected = tokenizer.topology.sparse_soft_targets(**{"sigma": 1.0, **query})
    content = client.get(URL, params=query).json()
    assert set(content) == {"tokens", "weights", "model", "codebook_hash"}
    assert np.array_equal(content["tokens"], expected.tokens)
    assert np.array_equal(as_float32(content["weights"]), expected.weights)
    tensors = load(client.get(URL, params=query, headers=SAFETENSORS).content)
    assert np.array_equal(tensors["tokens"], expected.tokens)
    assert np.array_equal(tensors["weights"], expected.weights)


@pytest.mark.parametrize("tokens", [[3], [0, 11, 3, 0], [[0, 1], [2, 3]], [[[4, 5]], [[6, 7]]]])
def test_given_tokens_keep_their_shape(client, tokenizer, npy_file, read_npy, tokens):
    expected = tokenizer.topology.soft_targets(np.array(tokens), sigma=1.5)
    assert expected.shape == (*np.shape(tokens), 12)
    content = client.post(URL, json={"tokens": tokens, "sigma": 1.5}).json()
    assert np.array_equal(as_float32(content["weights"]), expected)
    reply = client.post(
        URL,
        params={"sigma": 1.5},
        content=npy_file(np.array(tokens, dtype=np.uint16)),
        headers={"Content-Type": "application/x-npy", **NPY},
    )
    assert np.array_equal(read_npy(reply.content), expected)
    sparse = client.post(URL, json={"tokens": tokens, "sigma": 1.5, "k": 2}, headers=SAFETENSORS)
    assert load(sparse.content)["weights"].shape == (*np.shape(tokens), 3)


def test_a_reply_of_encode_is_a_body(client, photographs, image_file):
    encoded = client.post(
        "/encode", content=image_file(photographs[0]), headers={"Content-Type": "image/png"}
    )
    reply = client.post(URL, params={"k": 2}, json=encoded.json())
    assert reply.status_code == 200
    assert [row[0] for rows in reply.json()["tokens"][0] for row in rows] == [
        token for row in encoded.json()["tokens"][0] for token in row
    ]


def test_one_array_cannot_hold_tokens_and_weights(client):
    reply = client.get(URL, params={"k": 2}, headers=NPY)
    assert reply.status_code == 406
    assert reply.json()["error"]["code"] == "not_acceptable"
    assert "application/x-npy holds one array" in reply.json()["error"]["message"]


def test_tokens_of_another_model_are_refused(client):
    reply = client.post(URL, json={"tokens": [1], "codebook_hash": "0" * 64})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_tokens")
