"""GET and POST /neighbors, on the tiny map of 3 rows and 4 columns."""

import dataclasses

import pytest

URL = "/neighbors"


def as_json(neighbors):
    """What the reply holds for the runtime's neighbors."""
    return [
        {**dataclasses.asdict(neighbor), "coordinates": list(neighbor.coordinates)} for neighbor in neighbors
    ]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"radius": 1},
        {"radius": 0},
        {"radius": 2.5, "by": "map"},
        {"k": 3},
        {"k": 11, "by": "codebook"},
    ],
)
def test_the_reply_is_what_the_runtime_finds(client, tokenizer, query):
    reply = client.get(URL, params={"token": 5, **query})
    assert reply.status_code == 200
    assert reply.json() == {
        "token": 5,
        "coordinates": [1, 1],
        "neighbors": as_json(tokenizer.neighbors(5, **query)),
        "model": "tiny-colors",
        "codebook_hash": tokenizer.codebook.sha256,
    }
    assert client.post(URL, json={"token": 5, **query}).json() == reply.json()


def test_without_radius_and_k_the_eight_around(client):
    neighbors = client.get(URL, params={"token": 5}).json()["neighbors"]
    assert sorted(neighbor["token"] for neighbor in neighbors) == [0, 1, 2, 4, 6, 8, 9, 10]
    assert [neighbor["grid_distance"] for neighbor in neighbors] == [1.0] * 4 + [2**0.5] * 4


def test_several_tokens_keep_their_order(client, tokenizer):
    expected = {
        "results": [
            {
                "token": token,
                "coordinates": [token % 4, token // 4],
                "neighbors": as_json(tokenizer.neighbors(token, k=2)),
            }
            for token in (11, 0, 11)
        ],
        "model": "tiny-colors",
        "codebook_hash": tokenizer.codebook.sha256,
    }
    got = client.get(URL, params={"tokens": [11, 0, 11], "k": 2})
    posted = client.post(URL, json={"tokens": [11, 0, 11], "k": 2})
    assert got.json() == posted.json() == expected


def test_one_token_in_a_list_is_answered_as_a_list(client):
    assert len(client.post(URL, json={"tokens": [3]}).json()["results"]) == 1


def test_the_model_may_be_named_in_the_url_or_in_the_body_but_once(client):
    body, named = {"token": 0, "k": 1}, {"model": "tiny-colors"}
    found = client.post("/neighbors", json=body).json()
    assert client.post("/neighbors", params=named, json=body).json() == found
    assert client.post("/neighbors", json=body | named).json() == found
    for params, says in ((named, "'model' is given in the URL and in the body"), ({"k": 1}, "'k' is no par")):
        refused = client.post("/neighbors", params=params, json=body | named)
        assert refused.status_code == 422
        assert refused.json()["error"]["message"].startswith(says)
