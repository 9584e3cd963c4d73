"""POST /perturb and /interpolate, on the tiny map of 3 rows and 4 columns."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from kohonen_tokenizer.service.runtime.images import decode_image
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

NPY = {"Content-Type": "application/x-npy"}
PNG = {"Accept": "image/png"}
GRIDS = np.arange(20).reshape(5, 2, 2) % 12
START, END = [[0, 3], [8, 5]], [[11, 8], [8, 6]]


def strip(images):
    """Images [B, H, W, 3] side by side."""
    return np.concatenate(list(images), axis=1)


@pytest.mark.parametrize("edge", ["clamp", "reflect"])
@pytest.mark.parametrize("offset", [[0, 0], [1, 0], [0, 1], [-2, 7], [10**15, -(10**15)]])
def test_perturbed_tokens_are_the_runtimes(client, tokenizer, npy_file, read_npy, offset, edge):
    expected = tokenizer.topology.perturb(GRIDS, offset=offset, edge=edge)
    reply = client.post("/perturb", json={"tokens": GRIDS.tolist(), "offset": offset, "edge": edge})
    assert reply.json() == {"tokens": expected.tolist(), **tokenizer.identity}
    raw = client.post(
        "/perturb",
        params={"offset": offset, "edge": edge},
        content=npy_file(GRIDS),
        headers={**NPY, "Accept": "application/x-npy"},
    )
    assert raw.headers["x-codebook-hash"] == tokenizer.codebook.sha256
    assert np.array_equal(read_npy(raw.content), expected)


def test_tokens_in_safetensors_say_whose_they_are(client, tokenizer):
    headers = {"Content-Type": "application/x-safetensors", "Accept": "application/x-safetensors"}
    request = {"params": {"offset": [1, 1]}, "headers": headers}
    reply = client.post("/perturb", content=save({"tokens": GRIDS}, metadata=tokenizer.identity), **request)
    assert np.array_equal(load(reply.content)["tokens"], tokenizer.topology.perturb(GRIDS, offset=(1, 1)))
    # The reply says it too, and so is a body.
    assert client.post("/perturb", content=reply.content, **request).status_code == 200
    foreign = save({"tokens": GRIDS}, metadata={"codebook_hash": "0" * 64})
    refused = client.post("/perturb", content=foreign, **request)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_tokens")


def test_the_edge_is_clamped_unless_said_otherwise(client):
    assert client.post("/perturb", json={"tokens": START, "offset": [9, 0]}).json()["tokens"] == [
        [[3, 3], [11, 7]]
    ]


def test_a_reply_of_encode_is_a_body_with_the_offset_in_the_url(client, photographs, image_file, tokenizer):
    encoded = client.post(
        "/encode", content=image_file(photographs[0]), headers={"Content-Type": "image/png"}
    ).json()
    reply = client.post("/perturb", params={"offset": [1, 1]}, json=encoded)
    expected = tokenizer.topology.perturb(np.array(encoded["tokens"]), offset=(1, 1))
    assert reply.json()["tokens"] == expected.tolist()


def test_perturbed_images_are_a_strip(client, tokenizer, tiny_model):
    body = {"tokens": GRIDS.tolist(), "offset": [1, 1], "edge": "reflect"}
    reply = client.post("/perturb", json=body, headers=PNG)
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["x-model"] == "tiny-colors"
    moved = tokenizer.topology.perturb(GRIDS, offset=(1, 1), edge="reflect")
    expected = strip(tiny_model.decode(moved))
    assert expected.shape == (8, 40, 3)
    assert np.array_equal(decode_image(reply.content, max_pixels=8 * 40), expected)


@pytest.mark.parametrize("steps", [2, 5])
def test_a_path_is_the_runtimes(client, tokenizer, tiny_model, read_npy, steps):
    body = {"from": START, "to": END, "steps": steps}
    expected = tokenizer.topology.interpolate(np.array(START), np.array(END), num_steps=steps)
    assert client.post("/interpolate", json=body).json() == {
        "tokens": expected.tolist(),
        **tokenizer.identity,
    }
    raw = client.post("/interpolate", json=body, headers={"Accept": "application/x-npy"})
    assert np.array_equal(read_npy(raw.content), expected)
    picture = client.post("/interpolate", json=body, headers=PNG)
    assert np.array_equal(
        decode_image(picture.content, max_pixels=8 * 8 * steps), strip(tiny_model.decode(expected))
    )


def test_grids_in_lists_of_one_are_grids(client):
    body = {"from": [START], "to": END, "steps": 3}
    assert (
        client.post("/interpolate", json=body).json()
        == client.post("/interpolate", json=body | {"from": START}).json()
    )


def test_on_a_line_an_offset_is_one_number(serve_in_thread, make_bundle, tiny_files, wait_until):
    places = np.arange(12, dtype=np.int32)[:, None]
    codebook = load(tiny_files["codebook.safetensors"]) | {"coordinates": places}
    files = tiny_files | {"codebook.safetensors": save(codebook)}
    manifest = json.loads((make_bundle(tiny_files) / "manifest.json").read_bytes())
    levels = [manifest["levels"][0] | {"map_shape": [12]}]
    line = Tokenizer.load(make_bundle(files, levels=levels), num_threads=1)
    with serve_in_thread(line) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        moved = client.post("/perturb", json={"tokens": START, "offset": [-4], "edge": "reflect"})
        assert moved.json()["tokens"] == [[[4, 1], [4, 1]]]
        path = client.post("/interpolate", json={"from": START, "to": END, "steps": 3})
        assert path.json()["tokens"][1] == [[6, 6], [8, 6]]
        examples = client.get("/openapi.json").json()["paths"]["/perturb"]["post"]["requestBody"]["content"]
        for example in examples["application/json"]["examples"].values():
            assert client.post("/perturb", json=example["value"]).status_code == 200


def test_a_bundle_says_what_is_near_what_on_its_map(serve_in_thread, make_bundle, tiny_files, wait_until):
    manifest = json.loads((make_bundle(tiny_files) / "manifest.json").read_bytes())
    levels = [manifest["levels"][0] | {"map_topology": "toroidal"}]
    torus = Tokenizer.load(make_bundle(tiny_files, levels=levels), num_threads=1)
    with serve_in_thread(torus) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/models").json()["models"][0]["levels"][0]["map_topology"] == "toroidal"
        assert client.get("/codebook").json()["map_topology"] == "toroidal"
        moved = client.post("/perturb", json={"tokens": [[0, 1], [2, 3]], "offset": [-1, -1]})
        assert moved.json()["tokens"] == [[[11, 8], [9, 10]]]
        near = client.get("/neighbors", params={"token": 0, "radius": 1}).json()["neighbors"]
        assert sorted(neighbor["token"] for neighbor in near) == [1, 3, 4, 8]


def test_strips_are_counted_as_decoded_images(client, metric):
    sample = 'kohonen_images_total{operation="decode"}'
    before = metric(client, sample)
    client.post("/interpolate", json={"from": START, "to": END, "steps": 4}, headers=PNG)
    client.post("/interpolate", json={"from": START, "to": END, "steps": 4})
    assert metric(client, sample) == before + 4
