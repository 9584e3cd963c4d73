"""HTTP connections that stay open, for the checks and for the open loop; the closed loop is wrk's."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import httptools

HOST = "127.0.0.1"

# Status of a request whose connection was closed without a reply.
NO_REPLY = 0
_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came back."""

    status: int
    content_type: str
    body: bytes


def post(path: str, body: bytes, *, headers: Mapping[str, str]) -> bytes:
    """The bytes of a POST request."""
    all_headers = {"Host": HOST, "Content-Length": str(len(body)), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in all_headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[Reply] | None = None
        self._content_type = ""
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """A connection to `port` of this machine."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, HOST, port)
        return connection

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes) -> asyncio.Future[Reply]:
        """Send `request`; a connection that is lost meanwhile gives a reply of status NO_REPLY."""
        self._reply = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            self._finish(NO_REPLY)
        else:
            self._transport.write(request)
        return self._reply

    def close(self) -> None:
        """Close, without waiting for a reply that is under way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._finish(NO_REPLY)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self._content_type = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        self._finish(self._parser.get_status_code())

    def _finish(self, status: int) -> None:
        reply, self._reply = self._reply, None
        body, self._body = b"".join(self._body), []
        if reply is not None and not reply.done():
            reply.set_result(Reply(status=status, content_type=self._content_type, body=body))


async def send_all(requests: Sequence[bytes], *, port: int, concurrency: int) -> list[Reply]:
    """The replies to `requests`, of which `concurrency` are under way at once.

    Raises:
        TimeoutError: not all have come after a minute.
        OSError: no connection.
    """
    waiting = deque(enumerate(requests))
    replies: dict[int, Reply] = {}

    async def work() -> None:
        connection = await Connection.open(port)
        while waiting:
            index, request = waiting.popleft()
            if not connection.is_open:
                connection = await Connection.open(port)
            replies[index] = await connection.send(request)
        connection.close()

    async with asyncio.timeout(_TIMEOUT_S):
        await asyncio.gather(*(work() for _ in range(min(concurrency, len(requests)))))
    return [replies[index] for index in range(len(requests))]
