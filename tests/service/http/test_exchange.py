"""What surrounds every request: its id, its line in the log, its metrics, and the answer to a bug."""

import logging
import re

import pytest

from kohonen_tokenizer.service.errors import GraphError
from kohonen_tokenizer.service.http.service import Service
from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from .rigged_backend import RiggedBackend

GRID = {"tokens": [[0, 1], [2, 3]]}


@pytest.mark.parametrize("asked", ["abc", "6f1c-4.x_:9", "x" * 64])
def test_a_sane_request_id_is_kept(client, server, wait_until, asked):
    good = client.get("/models", headers={"X-Request-Id": asked})
    bad = client.get("/nothing", headers={"X-Request-Id": asked})
    assert good.headers["x-request-id"] == bad.headers["x-request-id"] == asked
    assert bad.json()["error"]["request_id"] == asked
    assert bad.json()["error"]["message"] == "there is no '/nothing' here; see /docs for what there is"
    # The line is written when the reply is out, so the client may be ahead of it.
    line = rf"GET /nothing 404 not_found [\d.]+ ms id={re.escape(asked)}\n"
    wait_until(lambda: re.search(line, server.log) is not None)


@pytest.mark.parametrize("asked", ["", "a b", "x" * 65, "<script>", "é", "a\tb"])
def test_another_request_id_is_replaced(client, asked):
    reply = client.get("/models", headers=[(b"X-Request-Id", asked.encode("latin-1"))])
    assert reply.headers["x-request-id"] != asked
    assert len(reply.headers["x-request-id"]) == 32


def test_no_client_writes_the_log_by_the_address_it_claims(client, server, wait_until):
    forged = "6.6.6.6 POST /encode 200 1.0 ms id=forged"
    headers = {"X-Forwarded-For": forged, "X-Request-Id": "forger"}
    client.get("/models", headers=headers)
    wait_until(lambda: re.search(r": 127\.0\.0\.1 GET /models 200 [\d.]+ ms id=forger\n", server.log))
    assert "6.6.6.6" not in server.log


@pytest.mark.parametrize("path", ["/", "/codebook", "/map.png", "/models", "/neighbors?token=1", "/readyz"])
def test_head_is_get_without_its_body(client, path):
    whole, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == whole.headers[name]


def test_two_requests_have_two_ids(client):
    ids = {client.get("/healthz").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


def test_requests_stages_and_errors_are_counted(client, metric):
    samples = [
        'kohonen_requests_total{method="POST",route="/decode",status="200"}',
        'kohonen_requests_total{method="POST",route="/decode",status="422"}',
        'kohonen_requests_total{method="other",route="other",status="404"}',
        'kohonen_request_seconds_count{route="/decode"}',
        'kohonen_stage_seconds_count{operation="decode",stage="decode"}',
        'kohonen_stage_seconds_count{operation="decode",stage="infer"}',
        'kohonen_stage_seconds_count{operation="decode",stage="encode"}',
        'kohonen_errors_total{code="invalid_tokens"}',
        'kohonen_errors_total{code="not_found"}',
    ]
    before = [metric(client, sample) for sample in samples]
    client.post("/decode", json=GRID)
    client.post("/decode", json={"tokens": 1})
    client.request("PROPFIND", "/nothing")
    after = [metric(client, sample) for sample in samples]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1, 1, 2, 2, 1, 1, 1, 1]


def test_the_metrics_name_the_model(client, tokenizer):
    text = client.get("/metrics").text
    assert f'codebook_hash="{tokenizer.codebook.sha256}",model="tiny-colors"' in text


def test_counters_have_no_twins(client):
    client.get("/models")
    text = client.get("/metrics").text
    assert "kohonen_requests_total{" in text
    assert "_created" not in text


class BrokenBackend(RiggedBackend):
    """Works as the tiny model does until it is broken, and then raises `error` instead of decoding.

    But for the canary's grid of zeros, which it still decodes if it `spares_canary`.
    """

    def __init__(self, tiny_model, *, error, spares_canary=False):
        self.encode = tiny_model.encode
        self.is_broken = False
        self._spares_canary = spares_canary
        self._decode = tiny_model.decode
        self._error = error

    def decode(self, tokens):
        if self.is_broken and not (self._spares_canary and not tokens.any()):
            raise self._error
        return self._decode(tokens)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("secret /path/to/bundle"), MemoryError("secret"), GraphError("secret of operators")],
)
def test_a_model_that_fails_is_logged_and_answered_without_its_inside(
    serve_in_thread, tiny_bundle, tiny_model, wait_until, metric, caplog, error
):
    backend = BrokenBackend(tiny_model, error=error, spares_canary=True)
    with serve_in_thread(Tokenizer(load_bundle(tiny_bundle), backend=backend)) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        backend.is_broken = True
        with caplog.at_level(logging.WARNING):
            reply = client.post("/decode", json=GRID, headers={"X-Request-Id": "find-me"})
        assert reply.status_code == 500
        assert reply.json()["error"]["code"] == "inference_failed"
        assert reply.json()["error"]["request_id"] == reply.headers["x-request-id"] == "find-me"
        assert "secret" not in reply.text
        assert metric(client, 'kohonen_errors_total{code="inference_failed"}') == 1
        assert metric(client, "kohonen_pending_requests") == 0
        assert client.get("/readyz").status_code == 200
    (failure,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failure.exc_info is not None
    assert "secret" in caplog.text
    (line,) = [record.getMessage() for record in caplog.records if "find-me" in record.getMessage()]
    assert "500 inference_failed" in line


# The one goes straight to its endpoint, the other by way of the web framework.
@pytest.mark.parametrize("path", ["/decode", "/perturb"])
def test_a_bug_is_logged_and_answered_without_its_inside(
    serve_in_thread, tokenizer, wait_until, caplog, monkeypatch, path
):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret /path/to/bundle")

    with serve_in_thread(tokenizer) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        monkeypatch.setattr(Service, "deadline", fail)
        with caplog.at_level(logging.ERROR):
            reply = client.post(path, json=GRID, headers={"X-Request-Id": "find-me"})
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "internal_error"
    assert reply.json()["error"]["request_id"] == reply.headers["x-request-id"] == "find-me"
    assert "secret" not in reply.text
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "find-me" in record.getMessage()
    assert record.exc_info is not None
    assert "secret" in caplog.text


def test_a_warm_up_that_fails_leaves_the_service_unready(
    serve_in_thread, tiny_bundle, tiny_model, wait_until, caplog
):
    backend = BrokenBackend(tiny_model, error=RuntimeError("no such luck"))
    backend.is_broken = True
    with serve_in_thread(Tokenizer(load_bundle(tiny_bundle), backend=backend)) as client:
        wait_until(lambda: "failed its warm-up" in client.get("/readyz").text)
        reply = client.get("/readyz")
        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "not_ready"
        assert int(reply.headers["retry-after"]) >= 1
        assert client.get("/healthz").status_code == 200
    assert "the warm-up failed" in caplog.text
    # A probe that is told so each second is no news.
    assert not [record for record in caplog.records if record.name.endswith("exchange")]
    assert "no such luck" in caplog.text
