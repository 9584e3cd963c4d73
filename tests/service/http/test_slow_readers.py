"""A client that asks for much and reads nothing is cut off, and one that reads slowly is not."""

import asyncio
import socket

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
