"""The server process: how it starts, what it says, and how it ends."""

import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from kohonen_tokenizer.cli import main
from kohonen_tokenizer.service.errors import StoppingError
from kohonen_tokenizer.service.http.models import LoadedModel
from kohonen_tokenizer.service.http.service import Service
from kohonen_tokenizer.service.http.settings import Settings


def test_one_line_tells_what_is_served_and_where(server, tokenizer):
    (line,) = [line for line in server.log.splitlines() if "serving" in line]
    for part in (
        "tiny-colors",
        tokenizer.codebook.sha256[:12],
        "CPUExecutionProvider",
        "1 thread a run",
        server.url,
    ):
        assert part in line


def test_probes_do_not_fill_the_log(server, client, wait_until):
    client.get("/healthz")
    client.get("/models", headers={"X-Request-Id": "after-the-probe"})
    wait_until(lambda: "id=after-the-probe" in server.log)
    assert "/healthz" not in server.log


def begin_request(server, image_file) -> tuple[socket.socket, bytes]:
    """A connection with half a request on it, and the other half."""
    content = image_file(np.full((8, 8, 3), 255, dtype=np.uint8))
    lines = ("POST /encode HTTP/1.1", "Host: x", "Content-Type: image/png", f"Content-Length: {len(content)}")
    head = "\r\n".join((*lines, "", ""))
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=30)
    connection.sendall(head.encode() + content[:10])
    return connection, content[10:]


def has_stopped_listening(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz")
    except httpx.TransportError:
        return True
    return False


def test_sigterm_lets_the_requests_in_work_finish(start_server, tiny_bundle, image_file, wait_until, metric):
    server = start_server(tiny_bundle, drain_timeout_s=60)
    connection, rest = begin_request(server, image_file)
    with connection:
        with httpx.Client(base_url=server.url) as client:
            wait_until(lambda: metric(client, "kohonen_pending_requests") == 1)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: has_stopped_listening(server.url))
        assert server.process.poll() is None
        connection.sendall(rest)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert server.process.wait(timeout=30) == 0
    assert "stopped" in server.log
    assert "Traceback" not in server.log


def test_a_request_that_outlasts_the_drain_is_told_so(
    start_server, tiny_bundle, image_file, wait_until, metric
):
    server = start_server(tiny_bundle, drain_timeout_s=1)
    connection, _ = begin_request(server, image_file)
    with connection:
        with httpx.Client(base_url=server.url) as client:
            wait_until(lambda: metric(client, "kohonen_pending_requests") == 1)
        assert server.stop() == 0
        reply = connection.recv(10_000)
    assert reply.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"stopping"' in reply
    assert "Traceback" not in server.log


def test_work_that_does_not_end_does_not_keep_the_process(
    start_server, tiny_bundle, image_file, wait_until, metric
):
    script = Path(__file__).with_name("stuck_server.py")
    server = start_server(tiny_bundle, command=[str(script)], drain_timeout_s=1)
    connection, rest = begin_request(server, image_file)
    with connection:
        connection.sendall(rest)
        with httpx.Client(base_url=server.url) as client:
            wait_until(lambda: metric(client, "kohonen_pending_requests") == 1)
        assert server.stop() == 0
        reply = connection.recv(10_000)
    assert reply.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"stopping"' in reply
    assert "threads that outlast the drain, and are dropped: 1" in server.log
    assert "Traceback" not in server.log


def test_ctrl_c_is_an_orderly_end_too(start_server, tiny_bundle):
    server = start_server(tiny_bundle)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=30) == 0
    assert "Traceback" not in server.log


def test_a_service_that_was_told_to_stop_is_not_ready(tokenizer):
    model = LoadedModel(name="tiny", version="1", tokenizer=tokenizer)
    service = Service(Settings(bundle=Path("unused")), models=[model])
    service.stop()
    with pytest.raises(StoppingError):
        service.require_ready()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bundle", "nowhere"], "nowhere: "),
        (["--bundle", "{bundle}", "--port", "{taken}"], "cannot listen on host '127.0.0.1', port {taken}: "),
        (["--bundle", "{bundle}", "--port", "70000"], "setting port (--port) is '70000': "),
        ([], "there is nothing to serve; give --bundle or set KOHONEN_BUNDLE"),
    ],
)
def test_a_start_that_fails_ends_in_one_line_and_status_2(
    tiny_bundle, capsys, monkeypatch, arguments, message
):
    monkeypatch.delenv("KOHONEN_BUNDLE", raising=False)
    # It would last, with this test's stderr, through all tests that follow.
    monkeypatch.setattr("kohonen_tokenizer.service.http.logs.configure_logging", lambda level, **_: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        values = {"bundle": tiny_bundle, "taken": listener.getsockname()[1]}
        with pytest.raises(SystemExit) as end:
            main(["serve", *(argument.format(**values) for argument in arguments)])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message.format(**values)}")
