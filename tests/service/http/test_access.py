"""Who gets in, over HTTP: with keys, without, from other origins."""

import json

import httpx
import pytest

from kohonen_tokenizer.service.http.auth import make_key

GRID = {"tokens": [[0, 1], [2, 3]]}


@pytest.fixture(scope="module")
def keys():
    """Secrets and entries by name: of a user, an admin, and an operator whose key lacks the use."""
    return {
        "user": make_key("user", scopes=("use",)),
        "admin": make_key("admin", scopes=("use", "admin")),
        "operator": make_key("operator", scopes=("admin",)),
    }


@pytest.fixture(scope="module")
def locked(start_server, tiny_bundle, keys):
    """A client of a server with keys and one friendly origin."""
    entries = [entry.model_dump() for _, entry in keys.values()]
    server = start_server(
        tiny_bundle, api_keys=json.dumps(entries), cors_origins='["https://Good.example"]', log_format="json"
    )
    with httpx.Client(base_url=server.url) as client:
        yield client
    assert server.stop() == 0
    # Nothing that was sent as a key is in the log.
    assert not [secret for secret, _ in keys.values() if secret in server.log]
    assert "Traceback" not in server.log


def bearer(keys, name):
    return {"Authorization": f"Bearer {keys[name][0]}"}


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/docs", "/openapi.json", "/healthz", "/readyz"])
def test_probes_the_page_and_the_documentation_need_no_key(locked, path):
    assert locked.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_nor_do_the_probes_of_the_inference_protocol(locked, path):
    assert locked.get(path).status_code != 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/decode"),
        ("POST", "/encode"),
        ("GET", "/codebook"),
        ("GET", "/metrics"),
        ("GET", "/models"),
        ("GET", "/docs/"),
        ("GET", "/nothing"),
        ("GET", "/healthz%2F..%2Fcodebook"),
        ("GET", "/healthz/"),
    ],
)
def test_all_else_needs_one(locked, method, path):
    reply = locked.request(method, path, headers={"X-Request-Id": "no-key"})
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.headers["x-request-id"] == "no-key"
    assert reply.json()["error"]["code"] == "unauthorized"


@pytest.mark.parametrize("name", ["user", "admin"])
def test_a_key_opens(locked, keys, name):
    assert locked.post("/decode", json=GRID, headers=bearer(keys, name)).status_code == 200
    assert locked.get("/metrics", headers={"X-API-Key": keys[name][0]}).status_code == 200


def test_a_wrong_key_does_not(locked):
    reply = locked.post("/decode", json=GRID, headers={"Authorization": "Bearer nonsense"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("path", ["/profile?seconds=1", "/models/tiny-colors/load", "/models/nobody/load"])
def test_what_is_the_admins_is_nobody_elses(locked, keys, path):
    assert locked.post(path).status_code == 401
    for name, lacks in (("user", "admin"), ("operator", "use")):
        reply = locked.post(path, headers=bearer(keys, name))
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden")
        assert f"this call needs {lacks}" in reply.json()["error"]["message"]


def test_a_profile_is_for_the_admin(locked, keys):
    url = "/profile?seconds=1"
    reply = locked.post(url, headers=bearer(keys, "admin"))
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain")
    (main,) = {line.split(";")[0] for line in reply.text.splitlines() if line.startswith("MainThread;")}
    assert main == "MainThread"
    assert all(line.rpartition(" ")[2].isdecimal() for line in reply.text.splitlines())
    as_json = locked.post(url, headers={**bearer(keys, "admin"), "Accept": "application/json"}).json()
    assert "MainThread" in [profile["name"] for profile in as_json["profiles"]]


@pytest.mark.parametrize("seconds", ["0.5", "61", "x"])
def test_a_profile_is_bounded(locked, keys, seconds):
    reply = locked.post(f"/profile?seconds={seconds}", headers=bearer(keys, "admin"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_parameter")


def test_without_keys_nobody_is_the_admin(client):
    reply = client.post("/profile")
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden")
    assert "set api_keys" in reply.json()["error"]["message"]


def preflight(client, origin):
    return client.options(
        "/decode",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
    )


def test_a_friendly_origin_may_call(locked, keys):
    allowed = preflight(locked, "https://good.example")
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://good.example"
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    for headers in (bearer(keys, "user"), {}):
        reply = locked.post("/decode", json=GRID, headers={"Origin": "https://good.example", **headers})
        assert reply.headers["access-control-allow-origin"] == "https://good.example"
        exposed = reply.headers["access-control-expose-headers"].lower()
        for name in ("x-request-id", "retry-after", "x-error-code", "inference-header-content-length"):
            assert name in exposed


def test_another_origin_may_not(locked):
    refused = preflight(locked, "https://evil.example")
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers


def test_by_default_no_origin_may(client):
    reply = client.post("/decode", json=GRID, headers={"Origin": "https://good.example"})
    assert reply.status_code == 200
    assert not [name for name in reply.headers if name.startswith("access-control")]
    assert preflight(client, "https://good.example").status_code == 405
