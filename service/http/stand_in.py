"""Who answers while no worker comes up: the supervisor itself, with a 503, or clients would wait in vain."""

import asyncio
import socket
import uuid
from collections.abc import Callable
from http import HTTPStatus

from ..errors import NotReadyError
from .error_content import error_content

# For a client to send its request, and to read the answer.
_TIMEOUT_S = 5.0
_PIECE_BYTES = 65536


class StandIn:
    """Takes connections in the place of workers, and answers each with an error."""

    def __init__(self, *, is_needed: Callable[[], bool]) -> None:
        """Take what says whether connections are for the stand-in now."""
        self._is_needed = is_needed
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def num_connections(self) -> int:
        """See `Taker`."""
        return len(self._tasks)

    @property
    def takes_connections(self) -> bool:
        """See `Taker`."""
        return self._is_needed()

    def give(self, connection: socket.socket) -> None:
        """See `Taker`."""
        task = asyncio.create_task(_refuse(connection.dup()))
        # The loop itself keeps no task alive.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _refuse(connection: socket.socket) -> None:
    connection.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(_reply(head))
            writer.write_eof()
            # A close with a body unread would reset the connection, and take the answer from the client.
            while await reader.read(_PIECE_BYTES):
                pass
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # it sent no request, or left
    finally:
        writer.close()


def _reply(head: bytes) -> bytes:
    """The answer to the request that begins with `head`."""
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
    error = NotReadyError(
        "no worker can be started; see the server's log, and try again or use another server"
    )
    request_id = uuid.uuid4().hex
    content = error_content(error, path=path, request_id=request_id)
    headers = {
        **content.headers,
        "Content-Length": str(len(content.body)),
        "X-Request-Id": request_id,
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode() + (b"" if method == b"HEAD" else content.body)
