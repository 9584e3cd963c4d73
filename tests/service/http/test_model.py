"""GET /models, /codebook and /map.png."""

import numpy as np
import onnx
import pytest

from kohonen_tokenizer.service.errors import NotReadyError
from kohonen_tokenizer.service.http.models import Models
from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.images import decode_image
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from .rigged_backend import RiggedBackend


def test_the_card_of_the_model(client, tokenizer):
    headers = client.get("/codebook").headers
    assert client.get("/models").json() == {
        "available": {"tiny-colors": [headers["x-model-version"]]},
        "missing": {},
        "models": [
            {
                "name": "tiny-colors",
                "version": headers["x-model-version"],
                "description": "Twelve colors on a map of 3 x 4.",
                "license": "MIT",
                "image": {"height": 8, "width": 8, "channels": 3},
                "levels": [
                    {
                        "name": "tokens",
                        "latent_grid": [2, 2],
                        "map_shape": [3, 4],
                        "map_topology": "rectangular",
                        "codebook_size": 12,
                        "code_dim": 3,
                        "codebook_hash": tokenizer.codebook.sha256,
                    }
                ],
                "metrics": {"psnr": 20.5},
                "training_data": {"name": "none", "num_images": 1, "license": "MIT"},
                "checkpoint": {"sha256": "0" * 64, "step": 0},
            }
        ],
    }


def test_the_codebook_as_json(client, tokenizer):
    assert client.get("/codebook").json() == {
        "codebook_size": 12,
        "code_dim": 3,
        "map_shape": [3, 4],
        "map_topology": "rectangular",
        "vectors": tokenizer.codebook.vectors.tolist(),
        "coordinates": tokenizer.codebook.coordinates.tolist(),
        "model": "tiny-colors",
        "codebook_hash": tokenizer.codebook.sha256,
    }


def test_the_codebook_as_npy(client, tokenizer, read_npy):
    reply = client.get("/codebook", headers={"Accept": "application/x-npy"})
    vectors = read_npy(reply.content)
    assert reply.headers["x-codebook-hash"] == tokenizer.codebook.sha256
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, tokenizer.codebook.vectors)


def test_the_map_as_a_picture(client, tokenizer):
    reply = client.get("/map.png")
    assert reply.headers["content-type"] == "image/png"
    picture = decode_image(reply.content, max_pixels=10**6)
    assert picture.shape == (3 * 8, 4 * 8, 3)
    assert np.array_equal(picture, tokenizer.map_image())


def test_a_picture_that_the_client_has_is_not_sent_again(client):
    etag = client.get("/map.png").headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        reply = client.get("/map.png", headers={"If-None-Match": known})
        assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", etag)
    assert client.get("/map.png", headers={"If-None-Match": '"other"'}).status_code == 200


def test_another_decoder_has_another_etag(client, serve_in_thread, make_bundle, tiny_files):
    decoder = onnx.load_model_from_string(tiny_files["decoder.onnx"])
    decoder.doc_string = "another"
    bundle = make_bundle(tiny_files | {"decoder.onnx": decoder.SerializeToString()})
    with serve_in_thread(Tokenizer.load(bundle)) as other:
        assert other.get("/codebook").json() == client.get("/codebook").json()
        assert other.get("/map.png").headers["etag"] != client.get("/map.png").headers["etag"]


class CountingBackend(RiggedBackend):
    """Works as the tiny model does and counts its runs."""

    def __init__(self, tiny_model):
        self._model = tiny_model
        self.num_runs = 0

    def encode(self, pixels):
        self.num_runs += 1
        return self._model.encode(pixels)

    def decode(self, tokens):
        self.num_runs += 1
        return self._model.decode(tokens)


def test_the_map_is_drawn_once_and_the_documentation_never_runs_the_model(
    serve_in_thread, tiny_bundle, tiny_model, wait_until
):
    backend = CountingBackend(tiny_model)
    # Without a canary meanwhile.
    patience = {"canary_interval_s": 3600, "canary_timeout_s": 3600}
    with serve_in_thread(Tokenizer(load_bundle(tiny_bundle), backend=backend), **patience) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        num_runs = backend.num_runs
        assert num_runs > 0
        for path in ("/openapi.json", "/docs"):
            assert client.get(path).status_code == 200
        assert backend.num_runs == num_runs
        picture = client.get("/map.png").content
        num_drawn = backend.num_runs
        assert num_drawn > num_runs
        assert client.get("/map.png").content == picture
        assert backend.num_runs == num_drawn


def test_before_the_first_model_is_warm_no_body_is_too_large_for_it():
    with pytest.raises(NotReadyError, match="warms up"):
        Models().max_tokens_per_image(None)
