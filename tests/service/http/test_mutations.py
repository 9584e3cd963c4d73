"""Good bodies with random damage: some still work, the rest is the client's fault, and none is a 5xx."""

import base64
import json
from collections import Counter

import numpy as np
import pytest
from safetensors.numpy import save

NUM_MUTATIONS = 25

MULTIPART_HEAD = b'--cut\r\nContent-Disposition: form-data; name="f"; filename="f.png"\r\n\r\n'


@pytest.fixture(scope="module")
def good_bodies(photographs, image_file, npy_file):
    """(path, Content-Type, body) of each kind."""
    image = photographs[3][:12, :10]
    png = image_file(image)
    return {
        "jpeg": ("/encode", "image/jpeg", image_file(image, "JPEG")),
        "png": ("/encode", "image/png", png),
        "webp": ("/encode", "image/webp", image_file(image, "WEBP")),
        "multipart": (
            "/encode",
            "multipart/form-data; boundary=cut",
            MULTIPART_HEAD + png + b"\r\n--cut--\r\n",
        ),
        "image json": (
            "/encode",
            "application/json",
            json.dumps({"images": [base64.b64encode(png).decode()]}).encode(),
        ),
        "image npy": ("/encode", "application/x-npy", npy_file(image[np.newaxis])),
        "token json": ("/decode", "application/json", b'{"tokens": [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]}'),
        "token npy": ("/decode", "application/x-npy", npy_file(np.zeros((2, 2, 2), np.int32))),
        "image safetensors": ("/encode", "application/x-safetensors", save({"images": image[np.newaxis]})),
        "token safetensors": (
            "/decode",
            "application/x-safetensors",
            save({"tokens": np.zeros((2, 2, 2), np.uint16)}, metadata={"model": "tiny-colors"}),
        ),
        "tensor json": (
            "/v2/models/tiny-colors-decoder/infer",
            "application/json",
            b'{"inputs": [{"name": "tokens", "datatype": "INT8", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}]}',
        ),
        "neighbors json": ("/neighbors", "application/json", b'{"token": 1, "k": 3, "by": "codebook"}'),
        "targets json": ("/soft-targets", "application/json", b'{"tokens": [0, 5], "sigma": 1.5, "k": 3}'),
        "targets npy": ("/soft-targets", "application/x-npy", npy_file(np.arange(12))),
        "perturb json": (
            "/perturb",
            "application/json",
            b'{"tokens": [[0, 1], [2, 3]], "offset": [1, -2], "edge": "reflect"}',
        ),
        "perturb npy": ("/perturb?offset=1&offset=-2", "application/x-npy", npy_file(np.zeros((2, 2), int))),
        "path json": (
            "/interpolate",
            "application/json",
            b'{"from": [[0, 1], [2, 3]], "to": [[4, 5], [6, 7]], "steps": 3}',
        ),
    }


def mutate(body: bytes, random: np.random.Generator) -> bytes:
    """`body` with one to eight places overwritten, cut out or doubled."""
    damaged = bytearray(body)
    for _ in range(random.choice([1, 2, 8])):
        start = int(random.integers(len(damaged)))
        size = int(random.choice([1, 4, 16]))
        match random.integers(3):
            case 0:
                damaged[start : start + size] = random.bytes(size)
            case 1 if len(damaged) > size:
                del damaged[start : start + size]
            case _:
                damaged[start:start] = damaged[start : start + size]
    return bytes(damaged)


@pytest.mark.parametrize(
    "kind",
    [
        "jpeg",
        "png",
        "webp",
        "multipart",
        "image json",
        "image npy",
        "token json",
        "token npy",
        "image safetensors",
        "token safetensors",
        "tensor json",
        "neighbors json",
        "targets json",
        "targets npy",
        "perturb json",
        "perturb npy",
        "path json",
    ],
)
def test_damaged_bodies_never_get_a_5xx(client, good_bodies, kind):
    path, content_type, body = good_bodies[kind]
    headers = {"Content-Type": content_type}
    assert client.post(path, content=body, headers=headers).status_code == 200
    random = np.random.default_rng(3)
    statuses = Counter(
        client.post(path, content=mutate(body, random), headers=headers).status_code
        for _ in range(NUM_MUTATIONS)
    )
    assert set(statuses) <= {200, 400, 413, 415, 422}
    assert statuses[200] < NUM_MUTATIONS  # or nothing was damaged
