"""A model of two levels behind every endpoint: the server says what the tokenizer in this process does."""

import io
import json

import httpx
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load, save

from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

NPY, SAFETENSORS, JSON = "application/x-npy", "application/x-safetensors", "application/json"
HEADERS = {"Content-Type": SAFETENSORS, "Accept": SAFETENSORS}


@pytest.fixture(scope="module")
def client(start_server, two_level_bundle):
    server = start_server(two_level_bundle, max_images=8)
    with httpx.Client(base_url=server.url) as client:
        yield client
    assert server.stop() == 0, server.log
    # Whatever the tests sent, no bug answered it.
    assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="module")
def tokenizer(two_level_bundle):
    return Tokenizer.load(two_level_bundle, num_threads=1)


@pytest.fixture
def images(random_images):
    return random_images[:5]


@pytest.fixture
def tokens(tokenizer, images):
    """By level."""
    return tokenizer.encode(images)


@pytest.fixture
def fields(tokens):
    """As JSON has them."""
    return {f"tokens_{level}": grids.tolist() for level, grids in tokens.items()}


def encode(client, images, npy_file, *, accept=JSON, **params):
    headers = {"Content-Type": NPY, "Accept": accept}
    return client.post("/encode", content=npy_file(images), headers=headers, params=params)


def refused(reply, *, status, code, says):
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (status, code), error
    assert says in error["message"]
    assert "\n" not in error["message"]


def test_json_has_the_grids_of_each_level(client, images, fields, tokenizer, npy_file):
    reply = encode(client, images, npy_file)
    assert reply.json() == {**fields, **tokenizer.identity}
    assert reply.headers["x-codebook-hash"] == tokenizer.identity["codebook_hash"]


@pytest.mark.parametrize("dtype", ["int32", "uint16"])
def test_safetensors_have_the_grids_of_each_level(client, images, tokens, npy_file, dtype):
    reply = encode(client, images, npy_file, accept=SAFETENSORS, dtype=dtype)
    found = load(reply.content)
    assert found.keys() == {"tokens_top", "tokens_bottom"}
    for level, grids in tokens.items():
        assert found[f"tokens_{level}"].dtype == dtype
        assert np.array_equal(found[f"tokens_{level}"], grids)


def test_a_npy_of_two_levels_is_refused_unless_another_type_will_do(client, images, fields, npy_file):
    reply = encode(client, images, npy_file, accept=NPY)
    refused(reply, status=406, code="not_acceptable", says="holds one array, and this reply has 2 levels")
    assert SAFETENSORS in reply.json()["error"]["message"]
    assert encode(client, images, npy_file, accept=f"{NPY}, */*;q=0.1").json().items() >= fields.items()


@pytest.mark.parametrize("media_type", [JSON, SAFETENSORS])
def test_a_reply_of_encode_is_a_body_of_decode(client, images, tokens, tokenizer, npy_file, media_type):
    encoded = encode(client, images, npy_file, accept=media_type)
    headers = {"Content-Type": media_type, "Accept": SAFETENSORS}
    decoded = client.post("/decode", content=encoded.content, headers=headers)
    assert decoded.status_code == 200, decoded.text
    assert np.array_equal(load(decoded.content)["images"], tokenizer.decode(tokens))


def test_one_image_of_each_level_is_a_png(client, fields, tokens, tokenizer):
    reply = client.post("/decode", json={name: grids[0] for name, grids in fields.items()})
    assert reply.headers["content-type"] == "image/png"
    image = np.asarray(Image.open(io.BytesIO(reply.content)))
    assert np.array_equal(image, tokenizer.decode({name: one[:1] for name, one in tokens.items()})[0])


TOP, BOTTOM = [[0]], [[0, 1], [2, 3]]
EXAMPLE = 'give {"tokens_top": [B][h][w], "tokens_bottom": [B][h][w]}, nothing else'


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        ({"tokens": BOTTOM}, 422, "invalid_tokens", f"has the keys 'tokens'; {EXAMPLE}"),
        ({"tokens_bottom": BOTTOM}, 422, "invalid_tokens", EXAMPLE),
        ({"tokens_top": TOP, "tokens_low": BOTTOM}, 422, "invalid_tokens", EXAMPLE),
        ({"tokens_top": TOP, "tokens_bottom": TOP}, 422, "invalid_tokens", "takes integers [B, 2, 2]"),
        ({"tokens_top": [TOP] * 2, "tokens_bottom": BOTTOM}, 422, "invalid_tokens", "(top 2, bottom 1)"),
        ({"tokens_top": [[12]], "tokens_bottom": BOTTOM}, 422, "token_out_of_range", "token 12"),
        ({"tokens_top": [TOP] * 9, "tokens_bottom": [BOTTOM] * 9}, 413, "too_many_images", "9 token grids"),
        ({"tokens_top": TOP, "tokens_bottom": BOTTOM, "model": "x"}, 404, "model_not_found", "'x'"),
        ({"tokens_top": TOP, "tokens_bottom": BOTTOM, "codebook_hash": "x"}, 422, "invalid_tokens", "'x'"),
    ],
)
def test_other_tokens_are_refused(client, body, status, code, says):
    refused(client.post("/decode", json=body), status=status, code=code, says=says)


def test_a_npy_is_no_body_of_decode(client, npy_file):
    reply = client.post("/decode", content=npy_file(np.array(BOTTOM)), headers={"Content-Type": NPY})
    refused(
        reply,
        status=422,
        code="invalid_tokens",
        says=f"a .npy holds one array, JSON and safetensors several; {EXAMPLE}",
    )


def test_a_model_of_one_level_takes_no_levels(start_server, tiny_bundle):
    server = start_server(tiny_bundle)
    with httpx.Client(base_url=server.url) as client:
        reply = client.post("/decode", json={"tokens_top": TOP, "tokens_bottom": BOTTOM})
        refused(reply, status=422, code="invalid_tokens", says='give {"tokens": [h][w] or [B][h][w]}')
        body = {"tokens": [0], "tokens_top": TOP}
        refused(
            client.post("/soft-targets", json=body), status=422, code="invalid_tokens", says='give {"tokens"'
        )
        assert client.get("/neighbors?token=5&level=tokens").json() == client.get("/neighbors?token=5").json()
        says = "level 'top' is unknown; this model has tokens"
        reply = client.get("/neighbors?token=5&level=top")
        refused(reply, status=422, code="invalid_parameter", says=says)
    assert server.stop() == 0


@pytest.mark.parametrize(
    "path", ["/neighbors?token=5", "/neighbors/table", "/soft-targets", "/codebook", "/map.png"]
)
def test_the_map_of_a_level_has_to_be_named(client, path):
    says = "no level is named; this model has top, bottom; give one of these as the level"
    refused(client.get(path), status=422, code="invalid_parameter", says=says)
    says = "level 'middle' is unknown; this model has top, bottom"
    reply = client.get(path, params=dict(httpx.URL(path).params) | {"level": "middle"})
    refused(reply, status=422, code="invalid_parameter", says=says)


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_neighbors_are_those_of_the_level(client, tokenizer, level):
    reply = client.get("/neighbors", params={"token": 5, "radius": 1, "level": level}).json()
    expected = tokenizer.neighbors(5, radius=1, level=level)
    assert [one["token"] for one in reply["neighbors"]] == [one.token for one in expected]
    assert reply["level"] == level
    assert client.post("/neighbors", json={"token": 5, "radius": 1, "level": level}).json() == reply
    headers = {"Accept": NPY}
    table = client.get("/neighbors/table", params={"radius": 1, "level": level}, headers=headers)
    row = np.load(io.BytesIO(table.content))[5]
    assert row[row >= 0].tolist() == [one.token for one in expected]


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_soft_targets_are_those_of_the_level(client, images, tokens, tokenizer, npy_file, level):
    expected = tokenizer.soft_targets(tokens[level], sigma=1.0, level=level)
    params, accept = {"sigma": 1.0, "level": level}, {"Accept": SAFETENSORS}
    for media_type in (JSON, SAFETENSORS):
        # A reply of /encode as it is, of which the tokens of the level count.
        encoded = encode(client, images, npy_file, accept=media_type).content
        headers = accept | {"Content-Type": media_type}
        reply = client.post("/soft-targets", content=encoded, params=params, headers=headers)
        assert np.array_equal(load(reply.content)["weights"], expected)
    body = {"tokens": tokens[level].tolist(), **params}
    assert np.array_equal(
        load(client.post("/soft-targets", json=body, headers=accept).content)["weights"], expected
    )


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_codebook_and_map_are_those_of_the_level(client, tokenizer, level):
    reply = client.get("/codebook", params={"level": level}).json()
    assert reply["coordinates"] == tokenizer.levels[level].codebook.coordinates.tolist()
    assert reply["map_shape"] == list(tokenizer.levels[level].level.map_shape)
    assert (reply["level"], reply["codebook_hash"]) == (level, tokenizer.identity["codebook_hash"])
    picture = client.get("/map.png", params={"level": level})
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(picture.content))), tokenizer.map_image(level=level)
    )
    # The other level has one token in every place, the one in the middle of its map.
    assert picture.headers["x-held-tokens"] == {"top": "bottom=6", "bottom": "top=6"}[level]
    known = {"If-None-Match": picture.headers["etag"]}
    assert client.get("/map.png", params={"level": level}, headers=known).status_code == 304
    other = {"top": "bottom", "bottom": "top"}[level]
    assert client.get("/map.png", params={"level": other}, headers=known).status_code == 200


@pytest.mark.parametrize(("level", "offset"), [("top", (1, -1)), ("bottom", (2,))])
def test_one_level_moves_and_the_other_stays(client, fields, tokens, tokenizer, level, offset):
    expected = tokenizer.perturb(tokens, offset=offset, level=level)
    other = {"top": "bottom", "bottom": "top"}[level]
    assert np.array_equal(expected[other], tokens[other])
    body = {**fields, "offset": offset, "level": level}
    reply = client.post("/perturb", json=body).json()
    assert {name: reply[f"tokens_{name}"] for name in tokens} == {
        name: grids.tolist() for name, grids in expected.items()
    }
    alone = client.post(
        "/perturb", json={"tokens": fields[f"tokens_{level}"], "offset": offset, "level": level}
    )
    assert alone.json()["tokens"] == reply[f"tokens_{level}"]
    strip = client.post("/perturb", json=body, headers={"Accept": "image/png"}).content
    images = np.hstack(list(tokenizer.decode(expected)))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(strip))), images)


def test_levels_move_on_maps_of_their_own(client, fields):
    message = "level bottom: offset has 2 steps and the map 1 axes"
    reply = client.post("/perturb", json={**fields, "offset": [1, 1]})
    refused(reply, status=422, code="invalid_parameter", says=message)
    reply = client.post("/perturb", json={"tokens": BOTTOM, "offset": [1]})
    refused(reply, status=422, code="invalid_parameter", says="no level is named; this model has top, bottom")
    body = {"tokens": BOTTOM, "offset": [1], "level": "bottom"}
    reply = client.post("/perturb", json=body, headers={"Accept": "image/png"})
    refused(reply, status=406, code="not_acceptable", says="for a picture send the tokens of top, bottom")


@pytest.mark.parametrize("level", [None, "top", "bottom"])
def test_a_path_leads_over_every_map_or_over_one(client, fields, tokens, tokenizer, level):
    start, end = ({name: grids[index] for name, grids in tokens.items()} for index in (0, 1))
    expected = tokenizer.interpolate(start, end, num_steps=4, level=level)
    ends = {
        key: {name: grids[index] for name, grids in fields.items()} for key, index in (("from", 0), ("to", 1))
    }
    chosen = {} if level is None else {"level": level}
    reply = client.post("/interpolate", json={**ends, "steps": 4, **chosen})
    assert reply.status_code == 200, reply.text
    for name, path in expected.items():
        assert reply.json()[f"tokens_{name}"] == path.tolist()
        if level not in (None, name):
            assert (path == start[name]).all()


def test_a_path_of_one_level_alone(client, tokenizer):
    body = {"from": BOTTOM, "to": [[9, 9], [9, 9]], "steps": 3, "level": "bottom"}
    expected = tokenizer.interpolate(np.array(BOTTOM), np.full((2, 2), 9), num_steps=3, level="bottom")
    assert client.post("/interpolate", json=body).json()["tokens"] == expected.tolist()


def test_the_protocol_has_a_tensor_for_each_level(client, images, fields, tokens, tokenizer):
    encoder, decoder = (client.get(f"/v2/models/two-levels-{kind}").json() for kind in ("encoder", "decoder"))
    top, bottom = (
        {"name": f"tokens_{level}", "datatype": "INT32", "shape": [-1, *grids.shape[1:]]}
        for level, grids in tokens.items()
    )
    assert encoder["outputs"][:2] == decoder["inputs"] == [top, bottom]
    config = client.get("/v2/models/two-levels-decoder/config").json()
    assert [tensor["optional"] for tensor in config["input"]] == [False, False]
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": images.shape, "data": images.ravel().tolist()}
    reply = client.post("/v2/models/two-levels-encoder/infer", json={"inputs": [pixels]}).json()
    assert reply["parameters"]["codebook_hash"] == tokenizer.identity["codebook_hash"]
    found = {output["name"]: np.reshape(output["data"], output["shape"]) for output in reply["outputs"]}
    assert {name: grids.tolist() for name, grids in found.items()} == fields
    asked = {
        "inputs": [pixels],
        "outputs": [{"name": "tokens_bottom_uint16", "parameters": {"binary_data": True}}],
    }
    binary = client.post("/v2/models/two-levels-encoder/infer", json=asked).content
    assert binary.endswith(tokens["bottom"].astype("<u2").tobytes())
    # What comes out goes in, in any order.
    inputs = [
        {key: output[key] for key in ("name", "datatype", "shape", "data")} for output in reply["outputs"]
    ]
    decoded = client.post("/v2/models/two-levels-decoder/infer", json={"inputs": inputs[::-1]}).json()
    assert decoded["outputs"][0]["data"] == tokenizer.decode(tokens).ravel().tolist()
    for wrong in (inputs[:1], [inputs[0]] * 2):
        reply = client.post("/v2/models/two-levels-decoder/infer", json={"inputs": wrong})
        assert reply.status_code == 422
        assert "give each of tokens_top and tokens_bottom once" in reply.json()["error"]


def test_every_example_works(client):
    # As a client would follow them; the profile and the loading of models need a key.
    num_calls = 0
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            if operation["tags"] == ["admin"]:
                continue
            named = {
                one["name"]: one["example"] for one in operation.get("parameters", []) if "example" in one
            }
            params = {name: value for name, value in named.items() if f"{{{name}}}" not in path}
            content = operation.get("requestBody", {}).get("content", {})
            examples = content.get("application/json", {}).get("examples", {"none": {"value": None}})
            for example in examples.values():
                body = example["value"]
                in_body = {} if body is None else body
                in_url = {name: value for name, value in params.items() if name not in in_body}
                reply = client.request(method, path.format_map(named), params=in_url, json=body)
                assert reply.status_code == 200, (path, body, reply.text)
                num_calls += 1
    assert num_calls > 25


def test_the_card_and_the_canary_know_both_levels(client, tokenizer):
    (card,) = client.get("/models").json()["models"]
    assert [level["name"] for level in card["levels"]] == ["top", "bottom"]
    assert client.get("/readyz").status_code == 200
    metrics = client.get("/metrics").text
    assert f'codebook_hash="{tokenizer.identity["codebook_hash"]}"' in metrics
    other = {"X-Expect-Codebook-Hash": card["levels"][0]["codebook_hash"]}
    reply = client.post("/decode", json={"tokens_top": TOP, "tokens_bottom": BOTTOM}, headers=other)
    refused(reply, status=409, code="codebook_mismatch", says="is expected")


def test_safetensors_of_strange_names_are_refused(client):
    content = save({"tokens_top": np.zeros((1, 1, 1), np.int32), "labels": np.zeros(1, np.int32)})
    reply = client.post("/decode", content=content, headers=HEADERS)
    refused(reply, status=400, code="malformed_body", says="one for each level, 'tokens_LEVEL'")


def test_a_body_may_not_hold_more_tokens_than_the_images_have(client):
    body = json.dumps({"tokens_top": [TOP] * 8, "tokens_bottom": [BOTTOM] * 8, "model": "x" * 8000})
    reply = client.post("/decode", content=body, headers={"Content-Type": JSON})
    assert reply.status_code == 413
