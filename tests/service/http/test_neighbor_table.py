"""GET /neighbors/table, on the tiny map of 3 rows and 4 columns."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load

URL = "/neighbors/table"
SAFETENSORS = {"Accept": "application/x-safetensors"}
NPY = {"Accept": "application/x-npy"}
QUERIES = [
    {},
    {"radius": 1},
    {"radius": 0},
    {"k": 3},
    {"k": 11, "by": "codebook"},
    {"radius": 2.5, "by": "map"},
]


@pytest.mark.parametrize("query", QUERIES)
def test_each_form_is_what_the_runtime_finds(client, tokenizer, read_npy, query):
    table = tokenizer.topology.neighbor_table(**query)
    tensors = load(client.get(URL, params=query, headers=SAFETENSORS).content)
    assert set(tensors) == {"tokens", "grid_distance", "codebook_distance"}
    assert (tensors["tokens"].dtype, tensors["grid_distance"].dtype) == (np.int32, np.float32)
    for name, tensor in tensors.items():
        assert np.array_equal(tensor, getattr(table, name)), name

    assert np.array_equal(read_npy(client.get(URL, params=query, headers=NPY).content), table.tokens)

    content = client.get(URL, params=query).json()
    assert (content.pop("model"), content.pop("codebook_hash")) == ("tiny-colors", tokenizer.codebook.sha256)
    for name, rows in content.items():
        # JSON has no infinity: padding is null there.
        expected = [[value if np.isfinite(value) else None for value in row] for row in getattr(table, name)]
        assert [[None if value is None else np.float32(value) for value in row] for row in rows] == expected


def test_a_row_is_what_neighbors_gives(client):
    table = client.get(URL, params={"radius": 1}).json()
    for token in (0, 5, 11):
        neighbors = client.get("/neighbors", params={"token": token, "radius": 1}).json()["neighbors"]
        row = [other for other in table["tokens"][token] if other >= 0]
        assert row == [neighbor["token"] for neighbor in neighbors]


def test_headers_and_metadata_say_whose_it_is(client, tokenizer, tmp_path):
    reply = client.get(URL, headers=SAFETENSORS)
    assert reply.headers["content-type"] == "application/x-safetensors"
    assert reply.headers["vary"] == "Accept"
    assert reply.headers["x-codebook-hash"] == tokenizer.codebook.sha256
    (tmp_path / "table.safetensors").write_bytes(reply.content)
    with safe_open(tmp_path / "table.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    assert (metadata["model"], metadata["codebook_hash"]) == ("tiny-colors", tokenizer.codebook.sha256)
