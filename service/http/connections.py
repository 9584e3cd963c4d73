"""Connections on their way from the supervisor, which accepts them, to the worker that has the fewest.

Workers that accept for themselves take whatever they see first: one of them gets a burst of clients as a
whole, who keep their connections, while the others and their GPUs idle.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Sequence
from typing import Protocol

logger = logging.getLogger(__name__)

# Before other events have their turn.
_MAX_ACCEPTED_AT_ONCE = 64
_PAUSE_S = 0.1
# The client gave up before it was accepted.
_GONE = (errno.ECONNABORTED, errno.EPROTO)


class Taker(Protocol):
    """Whoever takes connections."""

    @property
    def num_connections(self) -> int:
        """Those that it has."""

    @property
    def takes_connections(self) -> bool:
        """Whether it would serve one more."""

    def give(self, connection: socket.socket) -> None:
        """Hand a connection over; the caller's end may be closed then.

        Raises:
            OSError: it did not get there.
        """


class Dealer:
    """Accepts connections and deals them out; who cannot be served now waits in the socket's queue."""

    def __init__(self, listener: socket.socket, *, takers: Sequence[Taker]) -> None:
        """Take the socket that listens; `resume` begins."""
        self._listener = listener
        self._takers = takers
        self._is_closed = False
        listener.setblocking(False)

    def resume(self) -> None:
        """Go on, for somebody takes connections."""
        if not self._is_closed:
            asyncio.get_running_loop().add_reader(self._listener, self._deal_some)

    def close(self) -> None:
        """Deal out what waits, and close the socket."""
        self._is_closed = True
        while self._deal_one():
            pass
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()

    def _deal_some(self) -> None:
        for _ in range(_MAX_ACCEPTED_AT_ONCE):
            if not self._deal_one():
                return

    def _deal_one(self) -> bool:
        """Whether there may be more to deal out now."""
        takers = sorted(
            (taker for taker in self._takers if taker.takes_connections),
            key=lambda taker: taker.num_connections,
        )
        if not takers:
            self._pause()
            return False
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _GONE:
                return True
            logger.error("no connection can be accepted: %s; raise the limit on open files", error.strerror)
            self._pause()
            asyncio.get_running_loop().call_later(_PAUSE_S, self.resume)
            return False
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for taker in takers:
                try:
                    taker.give(connection)
                except OSError:
                    continue  # it died just now, or is behind with taking
                return True
        logger.error("no worker took a connection: it is closed")
        return True

    def _pause(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)


def send_connection(connection: socket.socket, *, over: socket.socket) -> None:
    """Send a connection through a socket pair that does not block.

    Raises:
        OSError: nobody is at the other end, or the pair is full.
    """
    socket.send_fds(over, [b"c"], [connection.fileno()])


def receive_connections(source: socket.socket) -> list[socket.socket | None]:
    """The connections that wait in a socket pair that does not block.

    None is one that came to nothing: this process may open no more files, and the system has closed it.

    Raises:
        EOFError: there are none, and will be none any more.
    """
    connections: list[socket.socket | None] = []
    while len(connections) < _MAX_ACCEPTED_AT_ONCE:
        try:
            content, descriptors, _, _ = socket.recv_fds(source, 1, 1)
        except BlockingIOError:
            break
        if not content:
            if not connections:
                raise EOFError
            break
        connections.append(socket.socket(fileno=descriptors[0]) if descriptors else None)
    return connections
