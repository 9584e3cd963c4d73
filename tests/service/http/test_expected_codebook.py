"""X-Expect-Codebook-Hash: no model with another codebook answers a call that depends on the codebook."""

import json

import numpy as np
import pytest

HEADER = "X-Expect-Codebook-Hash"
TOKENS = json.dumps({"tokens": [[[0, 1], [2, 3]]]}).encode()
PATH = json.dumps({"from": [[0, 0], [0, 0]], "to": [[3, 3], [3, 3]]}).encode()
JSON = "application/json"
CALLS = [
    ("POST", "/encode", None, "application/x-npy"),
    ("POST", "/decode", TOKENS, JSON),
    ("GET", "/neighbors?token=0", None, None),
    ("POST", "/neighbors", b'{"token": 0}', JSON),
    ("GET", "/neighbors/table", None, None),
    ("GET", "/soft-targets", None, None),
    ("POST", "/soft-targets", TOKENS, JSON),
    ("POST", "/perturb?offset=1&offset=1", TOKENS, JSON),
    ("POST", "/interpolate", PATH, JSON),
    ("GET", "/codebook", None, None),
    ("GET", "/map.png", None, None),
]


@pytest.mark.parametrize(("method", "url", "content", "media_type"), CALLS)
def test_another_codebook_than_the_expected_one_is_a_conflict(
    client, npy_file, method, url, content, media_type
):
    if url == "/encode":
        content = npy_file(np.zeros((2, 8, 8, 3), np.uint8))
    headers = {} if media_type is None else {"Content-Type": media_type}

    def call(codebook_hash):
        return client.request(method, url, content=content, headers=headers | {HEADER: codebook_hash})

    (level,) = client.get("/models").json()["models"][0]["levels"]
    assert call(level["codebook_hash"]).status_code == 200
    reply = call("0" * 64)
    assert reply.status_code == 409
    error = reply.json()["error"]
    assert error["code"] == "codebook_mismatch"
    assert "0" * 64 in error["message"]
    assert level["codebook_hash"] in error["message"]


def test_the_header_and_its_conflict_are_documented_where_they_count(client):
    paths = client.get("/openapi.json").json()["paths"]
    documented = {
        (method.upper(), path)
        for path, operations in paths.items()
        for method, operation in operations.items()
        if HEADER in [parameter["name"] for parameter in operation.get("parameters", [])]
    }
    assert documented == {(method, url.partition("?")[0]) for method, url, _, _ in CALLS}
    for method, path in documented:
        error = paths[path][method.lower()]["responses"]["409"]["content"]["application/json"]["schema"]
        assert error["properties"]["error"]["properties"]["code"]["enum"] == ["codebook_mismatch"]


def test_an_error_says_which_of_several_items_is_at_fault(client, image_file, npy_file):
    good = image_file(np.zeros((8, 8, 3), np.uint8))
    files = [("image", ("0", good)), ("image", ("1", b"no image")), ("image", ("2", good))]
    error = client.post("/encode", files=files).json()["error"]
    assert (error["code"], error["index"]) == ("unsupported_image_format", 1)

    tokens = np.zeros((3, 2, 2), np.int32)
    tokens[2, 0, 1] = 12
    headers = {"Content-Type": "application/x-npy"}
    error = client.post("/decode", content=npy_file(tokens), headers=headers).json()["error"]
    assert (error["code"], error["index"]) == ("token_out_of_range", 2)

    # A body that is bad as a whole is the fault of no item.
    assert "index" not in client.post("/decode", content=b"[]", headers=headers).json()["error"]
