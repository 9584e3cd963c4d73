"""What comes before a body is bounded too: headers that are long or slow, and what is no request."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from kohonen_tokenizer.service.http import protocol
from kohonen_tokenizer.service.http.protocol import MAX_HEADER_BYTES, BoundedProtocol

START = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: "


@contextmanager
def _connection(url: str) -> Iterator[socket.socket]:
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        yield connection


def _answer(url: str, request: bytes) -> tuple[int, dict[str, str]]:
    """The status and the error of the reply after which the server closes the connection."""
    with _connection(url) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize(
    "end",
    [b"a" * MAX_HEADER_BYTES, b"a\r\nX: y" * (MAX_HEADER_BYTES // 6), b"a" * MAX_HEADER_BYTES + b"\r\n\r\n"],
    ids=["unfinished", "many", "finished"],
)
def test_long_headers_are_refused(client: httpx.Client, end: bytes) -> None:
    status, error = _answer(str(client.base_url), START + end)
    assert (status, error["code"]) == (431, "header_too_large")
    assert str(MAX_HEADER_BYTES) in error["message"]


def test_headers_within_the_limit_and_long_bodies_behind_them_are_read(client: httpx.Client) -> None:
    long_header = {"X-Long": "a" * (MAX_HEADER_BYTES - 1000)}
    for _ in range(3):
        assert client.get("/healthz", headers=long_header).status_code == 200
    body = b"a" * 2 * MAX_HEADER_BYTES
    head = f"POST /encode HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n"
    status, error = _answer(str(client.base_url), head.encode() + b"Connection: close\r\n\r\n" + body)
    assert (status, error["code"]) == (415, "unsupported_image_format")


def test_what_is_no_request_gets_an_error_of_our_shape(client: httpx.Client) -> None:
    status, error = _answer(str(client.base_url), b"hello\r\n\r\n")
    assert (status, error["code"]) == (400, "invalid_input")


@pytest.mark.parametrize("start", [b"", START])
def test_slow_headers_end_the_connection(monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(protocol, "HEADER_TIMEOUT_S", 0.1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("no request is complete")

    async def receive_all() -> bytes:
        config, state = uvicorn.Config(app, log_config=None), ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: BoundedProtocol(config, state, {}), "127.0.0.1", 0
        )
        async with server, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(start)
            received = await reader.read()
            writer.close()
            return received

    assert asyncio.run(receive_all()) == b""
