"""A client that asks for much and reads nothing is cut off, and one that reads slowly is not."""

import asyncio
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import numpy as np
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from kohonen_tokenizer.service.http import slow_readers
from kohonen_tokenizer.service.http.protocol import BoundedProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
NUM_BYTES = 8 * 2**20
# The system's buffers are small, so that most of a reply waits in the server.
BUFFER_BYTES = 64 * 1024


async def big(scope: Scope, receive: Receive, send: Send) -> None:
    """An app whose reply is large."""
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(NUM_BYTES).encode())],
        }
    )
    await send({"type": "http.response.body", "body": bytes(NUM_BYTES)})


async def read(*, pause_s: float) -> int:
    """Bytes that a client gets that pauses before each piece it reads; until it is cut off, or has all."""
    config, state = uvicorn.Config(big, log_config=None), ServerState()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        server = await asyncio.get_running_loop().create_server(
            lambda: BoundedProtocol(config, state, {}), sock=listener
        )
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        async with server, asyncio.timeout(30):
            with client:
                await loop.sock_connect(client, listener.getsockname())
                await loop.sock_sendall(client, REQUEST)
                num_read = 0
                while num_read < NUM_BYTES:
                    await asyncio.sleep(pause_s)
                    try:
                        piece = await loop.sock_recv(client, 2**18)
                    except ConnectionResetError:
                        break
                    if not piece:
                        break
                    num_read += len(piece)
            while state.connections:
                await asyncio.sleep(0.01)
        return num_read


@pytest.fixture(autouse=True)
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_readers, "SEND_TIMEOUT_S", 0.5)


def test_who_reads_nothing_is_cut_off() -> None:
    assert asyncio.run(read(pause_s=2.0)) < NUM_BYTES


def test_who_reads_slowly_gets_all() -> None:
    # Some seconds for the whole, so several times that the server looks.
    assert asyncio.run(read(pause_s=0.02)) >= NUM_BYTES


def _read_all(connection: socket.socket) -> bytes:
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("header", "then"),
    [
        ("Connection: close", lambda connection: None),
        ("Connection: keep-alive", lambda connection: None),
        ("Connection: keep-alive", lambda connection: connection.sendall(b"GET /")),
        ("Connection: keep-alive", lambda connection: connection.sendall(b"hello\r\n\r\n")),
        ("Connection: keep-alive", lambda connection: connection.shutdown(socket.SHUT_WR)),
    ],
    ids=["the client asks for it", "idle", "slow headers", "no request", "half closed"],
)
def test_who_reads_nothing_is_gone_after_the_server_has_closed(
    impatient_server, npy_file, wait_until, header: str, then: Callable[[socket.socket], None]
) -> None:
    # So little that the server is never told to write no more, and more than the system takes.
    images = np.zeros((256, 8, 8, 3), dtype=np.uint8)
    tokens = npy_file(np.zeros((256, 2, 2), dtype=np.uint8))
    head = (
        f"POST /decode HTTP/1.1\r\nHost: x\r\nAccept: application/x-npy\r\n{header}\r\n"
        f"Content-Type: application/x-npy\r\nContent-Length: {len(tokens)}\r\n\r\n"
    )
    address = urlsplit(impatient_server.url)
    num_sockets = impatient_server.num_sockets
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect((address.hostname, address.port))
        client.sendall(head.encode() + tokens)
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        then(client)
        wait_until(lambda: impatient_server.num_sockets <= num_sockets)
        assert len(_read_all(client)) < images.nbytes
