"""Bad calls of the map: each gets its documented 4xx, a stable code and one line that helps."""

import json

import numpy as np
import pytest

JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}
GRID = [[0, 1], [2, 3]]
ENDS = {"from": GRID, "to": GRID}


@pytest.fixture(scope="module")
def refused(client):
    """Send a request and give the message of its refusal, after the checks that all refusals must pass."""
    paths = client.get("/openapi.json").json()["paths"]

    def send(method: str, path: str, status: int, code: str, **request) -> str:
        reply = client.request(method, path, **request)
        assert reply.status_code == status, reply.text
        error = reply.json()["error"]
        assert error["code"] == code, error
        assert 10 < len(error["message"]) < 600
        assert "\n" not in error["message"]
        schema = paths[path][method.lower()]["responses"][str(status)]["content"]["application/json"][
            "schema"
        ]
        assert code in schema["properties"]["error"]["properties"]["code"]["enum"]
        return str(error["message"])

    return send


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"radius": 1, "k": 1}, "both given"),
        ({"radius": -1}, "0 or more"),
        ({"radius": "inf"}, "radius"),
        ({"radius": "1e999"}, "radius"),
        ({"k": 0}, "1 to 11"),
        ({"k": 12}, "1 to 11"),
        ({"k": "9" * 90}, "k:"),
        ({"k": 1.5}, "k:"),
        ({"by": "color"}, "by:"),
        ({"by": "codebook"}, "needs k"),
        ({"by": "codebook", "radius": 1}, "leave it out"),
        ({"k": [1, 2]}, "more than once"),
        ({"token": 1}, "'token' is no parameter here"),
    ],
)
def test_tables_that_cannot_be(refused, query, says):
    assert says in refused("GET", "/neighbors/table", 422, "invalid_parameter", params=query)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"sigma": 0}, "sigma is 0"),
        ({"sigma": -1}, "number over 0"),
        ({"sigma": "nan"}, "sigma"),
        ({"sigma": "wide"}, "sigma"),
        ({"radius": 1, "k": 1}, "both given"),
        ({"radius": -1}, "radius"),
        ({"k": 12}, "1 to 11"),
        ({"by": "codebook"}, "'by' is no parameter here"),
    ],
)
def test_targets_that_cannot_be(refused, query, says):
    assert says in refused("GET", "/soft-targets", 422, "invalid_parameter", params=query)
    body = {"tokens": [1], **query}
    assert says in refused("POST", "/soft-targets", 422, "invalid_parameter", json=body)


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "says"),
    [
        ("/soft-targets", {}, 400, "malformed_body", "no 'tokens'"),
        ("/soft-targets", {"tokens": []}, 400, "malformed_body", "no tokens"),
        ("/soft-targets", {"tokens": 1}, 422, "invalid_tokens", "an integer"),
        ("/soft-targets", {"tokens": [0, 12]}, 422, "token_out_of_range", "token 12 at [1]"),
        ("/soft-targets", {"tokens": [True]}, 422, "invalid_tokens", "true or false"),
        ("/soft-targets", {"tokens": [1], "sigma": "1"}, 422, "invalid_parameter", "sigma"),
        ("/soft-targets", {"tokens": [1], "width": 1}, 422, "invalid_parameter", "'width' is no parameter"),
        ("/perturb", {"offset": [1, 1]}, 400, "malformed_body", "no 'tokens'"),
        ("/perturb", {"tokens": GRID}, 422, "invalid_parameter", "offset is missing"),
        ("/perturb", {"tokens": GRID, "offset": [1]}, 422, "invalid_parameter", "give (dx, dy)"),
        ("/perturb", {"tokens": GRID, "offset": [1, 1, 1]}, 422, "invalid_parameter", "3 steps"),
        ("/perturb", {"tokens": GRID, "offset": 1}, 422, "invalid_parameter", "offset"),
        ("/perturb", {"tokens": GRID, "offset": [1, 0.5]}, 422, "invalid_parameter", "offset.1"),
        ("/perturb", {"tokens": GRID, "offset": [1, 1], "edge": "wrap"}, 422, "invalid_parameter", "edge"),
        ("/perturb", {"tokens": [0, 1], "offset": [1, 1]}, 422, "invalid_tokens", "1 dimensions"),
        ("/perturb", {"tokens": [[0, 1]], "offset": [1, 1]}, 422, "invalid_tokens", "[B, 2, 2]"),
        ("/perturb", {"tokens": [[0, 1], [2, 12]], "offset": [0, 0]}, 422, "token_out_of_range", "12"),
        ("/perturb", {"tokens": [GRID] * 257, "offset": [0, 0]}, 413, "too_many_images", "257"),
        ("/perturb", {"tokens": GRID, "offset": [0, 0], "model": "x"}, 404, "model_not_found", "'x'"),
        ("/perturb", {"tokens": GRID, "offset": [0, 0], "model": 5}, 422, "invalid_tokens", "model"),
        ("/interpolate", {"from": GRID, "steps": 2}, 400, "malformed_body", "no 'to'"),
        ("/interpolate", {"tokens": GRID, "steps": 2}, 400, "malformed_body", "no 'from'"),
        ("/interpolate", ENDS | {"steps": 1}, 422, "invalid_parameter", "steps"),
        ("/interpolate", ENDS | {"steps": 257}, 422, "invalid_parameter", "the limit is 256"),
        ("/interpolate", ENDS | {"steps": 100_000}, 422, "invalid_parameter", "the limit is 256"),
        ("/interpolate", ENDS | {"steps": 10**18}, 422, "invalid_parameter", "the limit is 256"),
        ("/interpolate", ENDS | {"steps": 2.0}, 422, "invalid_parameter", "steps"),
        ("/interpolate", ENDS | {"to": None}, 422, "invalid_tokens", "to is null"),
        ("/interpolate", ENDS | {"to": [GRID, GRID]}, 422, "invalid_tokens", "2 grids"),
        ("/interpolate", ENDS | {"from": [[0, 1, 2]]}, 422, "invalid_tokens", "[B, 2, 2]"),
        ("/interpolate", ENDS | {"from": [[0, -1], [0, 0]]}, 422, "token_out_of_range", "-1"),
    ],
)
def test_bodies_that_cannot_be(refused, path, body, status, code, says):
    assert says in refused("POST", path, status, code, content=json.dumps(body), headers=JSON)


def test_a_parameter_is_given_once_in_the_url_or_in_the_body(refused):
    message = refused(
        "POST",
        "/perturb",
        422,
        "invalid_parameter",
        params={"edge": "clamp", "offset": [1, 1]},
        json={"tokens": GRID, "edge": "clamp"},
    )
    assert "'edge' is given in the URL and in the body" in message


def test_an_npy_takes_its_parameters_from_the_url(refused, npy_file):
    content = npy_file(np.array(GRID))
    message = refused("POST", "/perturb", 422, "invalid_parameter", content=content, headers=NPY)
    assert "offset" in message
    floats = npy_file(np.zeros((2, 2)))
    request = {"params": {"offset": [1, 1]}, "headers": NPY}
    assert "integers" in refused("POST", "/perturb", 422, "invalid_tokens", content=floats, **request)
    nothing = npy_file(np.zeros((0, 2, 2), dtype=np.int32))
    assert "no tokens" in refused("POST", "/perturb", 400, "malformed_body", content=nothing, **request)


def test_two_grids_do_not_fit_an_npy(refused, npy_file):
    content = npy_file(np.zeros((2, 2, 2), dtype=np.int32))
    refused("POST", "/interpolate", 415, "unsupported_media_type", content=content, headers=NPY)


@pytest.mark.parametrize(
    ("method", "path", "request_"),
    [
        ("GET", "/neighbors/table", {}),
        ("GET", "/soft-targets", {}),
        ("POST", "/soft-targets", {"json": {"tokens": [1]}}),
        ("POST", "/perturb", {"json": {"tokens": GRID, "offset": [1, 1]}}),
        ("POST", "/interpolate", {"json": ENDS}),
    ],
)
def test_a_reply_that_nobody_can_make(refused, method, path, request_):
    refused(method, path, 406, "not_acceptable", headers={"Accept": "text/html"}, **request_)


def test_tokens_in_json_are_as_many_as_grids_have_and_in_npy_as_a_table_has(refused, client, npy_file):
    tokens = np.ones(20_000, dtype=np.uint8)
    refused("POST", "/soft-targets", 413, "body_too_large", json={"tokens": tokens.tolist(), "k": 1})
    reply = client.post(
        "/soft-targets",
        params={"k": 1},
        content=npy_file(tokens),
        headers={"Content-Type": "application/x-npy", "Accept": "application/x-safetensors"},
    )
    assert reply.status_code == 200


@pytest.fixture
def ask(serve_in_thread, tokenizer, wait_until):
    """Send a request to a server with limits that a test can reach: its status, and an error's message."""
    with serve_in_thread(tokenizer, max_table_values=96, max_table_pairs=143, max_images=3) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)

        def send(method: str, path: str, **request) -> tuple[int, str]:
            reply = client.request(method, path, **request)
            return reply.status_code, "" if reply.status_code == 200 else reply.json()["error"]["message"]

        yield send


def test_tables_are_bounded_before_they_are_made(ask):
    assert ask("GET", "/neighbors/table", params={"k": 8}) == (200, "")
    status, message = ask("GET", "/neighbors/table", params={"k": 9})
    assert status == 422
    assert "12 x 9 = 108 values, the limit is 96; ask for a smaller radius or k" in message
    status, message = ask("GET", "/neighbors/table", params={"k": 1, "by": "codebook"})
    assert status == 422
    assert "144 pairs of codes, the limit is 143" in message
    status, message = ask("GET", "/soft-targets")
    assert status == 422
    assert "12 x 12 = 144 values" in message
    assert ask("GET", "/soft-targets", params={"k": 7})[0] == 200
    assert ask("GET", "/soft-targets", params={"k": 8})[0] == 422
    assert ask("POST", "/soft-targets", json={"tokens": [1] * 8})[0] == 200
    assert ask("POST", "/soft-targets", json={"tokens": [1] * 9})[0] == 422
    assert ask("POST", "/interpolate", json=ENDS | {"steps": 3})[0] == 200
    assert ask("POST", "/interpolate", json=ENDS | {"steps": 4})[0] == 422
    assert ask("POST", "/interpolate", json=ENDS)[0] == 422
