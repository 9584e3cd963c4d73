"""POST /decode: tokens in JSON or .npy, images as PNG, JSON or .npy."""

import base64

import numpy as np
import pytest

from kohonen_tokenizer.service.runtime.images import decode_image

URL = "/decode"
NPY = {"Content-Type": "application/x-npy"}


@pytest.fixture(scope="module")
def grids():
    """Token grids int64 [5, 2, 2] that hold every code."""
    return np.arange(20).reshape(5, 2, 2) % 12


def test_one_grid_becomes_a_png(client, grids, tiny_model, tokenizer):
    expected = tiny_model.decode(grids[:1])[0]
    for tokens in (grids[0].tolist(), grids[:1].tolist()):
        reply = client.post(URL, json={"tokens": tokens})
        assert reply.status_code == 200
        assert reply.headers["content-type"] == "image/png"
        assert reply.headers["x-model"] == "tiny-colors"
        assert reply.headers["x-codebook-hash"] == tokenizer.codebook.sha256
        assert np.array_equal(decode_image(reply.content, max_pixels=64), expected)


def test_many_grids_become_json_with_pngs_in_order(client, grids, tiny_model, tokenizer):
    reply = client.post(URL, json={"tokens": grids.tolist()})
    assert reply.headers["content-type"] == "application/json"
    content = reply.json()
    assert set(content) == {"images", "model", "codebook_hash"}
    assert (content["model"], content["codebook_hash"]) == ("tiny-colors", tokenizer.codebook.sha256)
    images = [decode_image(base64.b64decode(text), max_pixels=64) for text in content["images"]]
    assert np.array_equal(images, tiny_model.decode(grids))


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i4", "<u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_any_integer_type_and_order(client, grids, tiny_model, npy_file, read_npy, dtype, order):
    content = npy_file(np.asarray(grids, dtype=dtype, order=order))
    reply = client.post(URL, content=content, headers=NPY | {"Accept": "application/x-npy"})
    images = read_npy(reply.content)
    assert images.dtype == np.uint8
    assert np.array_equal(images, tiny_model.decode(grids))


def test_one_grid_in_an_npy(client, grids, tiny_model, npy_file):
    reply = client.post(URL, content=npy_file(grids[3]), headers=NPY)
    assert reply.headers["content-type"] == "image/png"
    assert np.array_equal(decode_image(reply.content, max_pixels=64), tiny_model.decode(grids[3:4])[0])


@pytest.mark.parametrize(
    ("accept", "num_grids", "media_type"),
    [
        ("image/png", 1, "image/png"),
        ("application/json", 1, "application/json"),
        ("application/x-npy", 1, "application/x-npy"),
        ("image/*", 1, "image/png"),
        ("text/html, application/xhtml+xml, */*;q=0.8", 1, "image/png"),
        ("*/*", 2, "application/json"),
        ("application/x-npy, application/json;q=0.9", 2, "application/x-npy"),
        ("image/png, */*;q=0.1", 2, "application/json"),
        ("image/png;q=0, */*", 1, "application/json"),
    ],
)
def test_accept_chooses_the_reply(client, grids, accept, num_grids, media_type):
    reply = client.post(URL, json={"tokens": grids[:num_grids].tolist()}, headers={"Accept": accept})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == media_type


def test_a_png_of_many_grids_is_refused_with_the_fix(client, grids):
    reply = client.post(URL, json={"tokens": grids.tolist()}, headers={"Accept": "image/png"})
    assert reply.status_code == 406
    assert reply.json()["error"]["code"] == "not_acceptable"
    assert "application/json" in reply.json()["error"]["message"]
    assert "this reply has 5" in reply.json()["error"]["message"]


def test_tokens_that_say_whose_they_are_must_be_of_this_model(client, grids, tokenizer):
    tokens = grids.tolist()
    right = {"model": "tiny-colors", "codebook_hash": tokenizer.codebook.sha256}
    assert client.post(URL, json={"tokens": tokens, **right}).status_code == 200
    for wrong, status, code in (
        ({"model": "other"}, 404, "model_not_found"),
        ({"codebook_hash": "0" * 64}, 422, "invalid_tokens"),
        ({"codebook_hash": None}, 422, "invalid_tokens"),
    ):
        reply = client.post(URL, json={"tokens": tokens, **right, **wrong})
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_images_are_counted(client, grids, metric):
    sample = 'kohonen_images_total{operation="decode"}'
    before = metric(client, sample)
    client.post(URL, json={"tokens": grids.tolist()})
    assert metric(client, sample) == before + len(grids)
