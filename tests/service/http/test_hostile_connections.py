"""Slow and endless requests by the hundred: others are served meanwhile, and nothing is left of them."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from kohonen_tokenizer.service.http.protocol import MAX_HEADER_BYTES, MAX_PIPELINED

from .conftest import ServerProcess

NUM_CLIENTS = 100
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /encode HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def connect(server: ServerProcess, *, num: int) -> Iterator[list[socket.socket]]:
    """As many bare connections to `server`, all open at once."""
    address = urlsplit(server.url)
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=30))
            for _ in range(num)
        ]


def is_open(connection: socket.socket, *, sending: bytes) -> bool:
    """Send a little more, throw away what was answered, and tell whether the server still listens."""
    connection.setblocking(False)
    try:
        connection.send(sending)
        return connection.recv(65536) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def read_all(connection: socket.socket) -> bytes:
    """What is answered until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def require_service(server: ServerProcess) -> None:
    """Return if a good client gets its answer."""
    reply = httpx.post(f"{server.url}/decode", json={"tokens": [[0, 1], [2, 3]]})
    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"", b""),
        (GET, b""),
        (GET + b"X-Slow: ", b"x"),
        (GET, b"x: y\r\n"),
        (POST + b"Content-Length: 1000\r\n\r\n", b"x"),
        (POST + CHUNKED, b"1\r\nx\r\n"),
        (POST + CHUNKED + b"f", b"f"),
        (POST + CHUNKED + b"1\r\nx\r\n0\r\nX-Slow: ", b"x"),
        (GET + b"Content-Length: 1000\r\n\r\n", b"x"),
        (GET + CHUNKED, b"1\r\nx\r\n"),
    ],
    ids=[
        "nothing",
        "silence",
        "header",
        "headers",
        "body",
        "chunks",
        "chunk size",
        "trailer",
        "body nobody reads",
        "chunks nobody reads",
    ],
)
def test_a_hundred_that_drip_hold_nobody_up(impatient_server, wait_until, start: bytes, drop: bytes) -> None:
    num_sockets = impatient_server.num_sockets
    with connect(impatient_server, num=NUM_CLIENTS) as clients:
        for client in clients:
            client.sendall(start)
        listening = clients

        def are_cut_off() -> bool:
            nonlocal listening
            require_service(impatient_server)
            listening = [client for client in listening if is_open(client, sending=drop)]
            return not listening

        wait_until(are_cut_off)
        # All of them have their own end open still.
        wait_until(lambda: impatient_server.num_sockets <= num_sockets)


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET + b"X-Long: " + b"a" * MAX_HEADER_BYTES,
        GET + b"x: y\r\n" * (MAX_HEADER_BYTES // 6),
        b"GET /" + b"a" * MAX_HEADER_BYTES,
        b"GET /healthz?" + b"a" * MAX_HEADER_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["a header", "headers", "an unfinished URL", "a URL"],
)
def test_a_hundred_whose_headers_are_too_long_are_told_so(
    impatient_server, wait_until, request_bytes: bytes
) -> None:
    num_sockets = impatient_server.num_sockets
    with connect(impatient_server, num=NUM_CLIENTS) as clients:
        for client in clients:
            client.sendall(request_bytes)
        require_service(impatient_server)
        for client in clients:
            assert read_all(client).startswith(b"HTTP/1.1 431 ")
        wait_until(lambda: impatient_server.num_sockets <= num_sockets)


def test_trailers_are_as_long_as_headers_at_most(server) -> None:
    with connect(server, num=1) as (client,):
        client.sendall(GET + CHUNKED + b"1\r\nx\r\n0\r\nX-Long: ")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sendall(b"a" * MAX_HEADER_BYTES + b"a")
        assert read_all(client).startswith(b"HTTP/1.1 431 ")


def test_a_connection_is_not_kept_for_a_body_that_came_after_its_reply(impatient_server, wait_until) -> None:
    num_sockets = impatient_server.num_sockets
    with connect(impatient_server, num=1) as (client,):
        client.sendall(GET + b"Content-Length: 1\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sendall(b"x")
        wait_until(lambda: impatient_server.num_sockets <= num_sockets)
        assert read_all(client) == b""


def test_requests_ahead_of_their_replies_are_answered_in_number_only(impatient_server) -> None:
    last = GET + b"Connection: close\r\n\r\n"
    # One is in work, the others wait.
    for num, start in ((MAX_PIPELINED, b"HTTP/1.1 200 "), (MAX_PIPELINED + 1, b"HTTP/1.1 400 ")):
        with connect(impatient_server, num=1) as (client,):
            client.sendall((GET + b"\r\n") * num + last)
            reply = read_all(client)
        assert reply.startswith(start)
        assert reply.count(b"HTTP/1.1 ") == (num + 1 if num == MAX_PIPELINED else 1)
    assert f"{MAX_PIPELINED} requests wait on this connection".encode() in reply
