"""Traces, as a collector gets them from a server process."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from itertools import pairwise
from types import SimpleNamespace

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from kohonen_tokenizer.install_command import install_command
from kohonen_tokenizer.service.errors import SettingsError
from kohonen_tokenizer.service.http.settings_sources import read_settings

GRIDS = {"tokens": [[[0, 1], [2, 3]]] * 3}
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def collector():
    """A receiver of OTLP over HTTP: its URL, and what came in."""
    requests = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", requests=requests)
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def spans(start_server, tiny_bundle, collector):
    """All spans of a few requests to a server that was then stopped."""
    server = start_server(tiny_bundle, otlp_endpoint=f"{collector.url}/")
    with httpx.Client(base_url=server.url) as client:
        traceparent = f"00-{TRACE_ID}-{PARENT_ID}-01"
        headers = {"traceparent": traceparent, "X-Request-Id": "good", "Accept": "application/x-npy"}
        assert client.post("/decode", json=GRIDS, headers=headers).status_code == 200
        assert client.post("/decode", json={"tokens": 1}, headers={"X-Request-Id": "bad"}).status_code == 422
        assert client.request("PROPFIND", "/nothing", headers={"X-Request-Id": "lost"}).status_code == 404
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log
    assert {path for path, _ in collector.requests} == {"/v1/traces"}
    resources = [resource for _, request in collector.requests for resource in request.resource_spans]
    names = {attributes(resource.resource)["service.name"] for resource in resources}
    assert names == {"kohonen-tokenizer"}
    return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]


def attributes(message):
    values = {entry.key: entry.value for entry in message.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


def request_span(spans, request_id):
    (span,) = [span for span in spans if attributes(span).get("kohonen.request_id") == request_id]
    return span


def test_a_request_is_a_span_under_its_callers(spans):
    span = request_span(spans, "good")
    assert (span.name, span.kind) == ("POST /decode", span.SPAN_KIND_SERVER)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.route": "/decode",
        "http.response.status_code": 200,
        "url.path": "/decode",
        "url.scheme": "http",
        "kohonen.request_id": "good",
    }
    assert span.status.code == span.status.STATUS_CODE_UNSET


def test_its_stages_are_its_children(spans):
    parent = request_span(spans, "good")
    stages = [span for span in spans if span.parent_span_id == parent.span_id]
    assert [span.name for span in stages] == ["decode", "queue", "infer", "encode"]
    assert {span.trace_id for span in stages} == {parent.trace_id}
    for before, after in pairwise(stages):
        assert before.start_time_unix_nano <= before.end_time_unix_nano <= after.end_time_unix_nano
    # Two clocks are at work: a millisecond is within their agreement.
    assert stages[0].start_time_unix_nano > parent.start_time_unix_nano - 1_000_000
    assert stages[-1].end_time_unix_nano <= parent.end_time_unix_nano
    infer = attributes(stages[2])
    assert infer["kohonen.images"] == 3


def test_an_error_of_the_client_is_none_of_the_servers(spans):
    span = request_span(spans, "bad")
    assert len(span.parent_span_id) == 0
    assert attributes(span)["http.response.status_code"] == 422
    assert attributes(span)["kohonen.error_code"] == "invalid_tokens"
    assert "error.type" not in attributes(span)
    assert span.status.code == span.status.STATUS_CODE_UNSET


def test_what_clients_make_up_names_no_span(spans):
    span = request_span(spans, "lost")
    assert span.name == "_OTHER"
    assert attributes(span)["http.request.method"] == "_OTHER"
    assert "http.route" not in attributes(span)


def test_without_the_extra_the_setting_is_refused(monkeypatch):
    def find_none(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", find_none)
    with pytest.raises(SettingsError) as error:
        read_settings({"bundle": "b", "otlp_endpoint": "http://localhost:4318"})
    assert error.value.message == (
        "setting otlp_endpoint (--otlp-endpoint) is 'http://localhost:4318': it needs "
        "opentelemetry-exporter-otlp-proto-http, which is not installed; "
        f"run: {install_command('otel')}"
    )


def test_without_the_setting_nothing_of_the_extra_is_imported():
    # FastAPI itself imports the interface, opentelemetry-api.
    code = (
        "import sys, kohonen_tokenizer.service.http.server\n"
        "print({'opentelemetry.sdk', 'opentelemetry.exporter'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
