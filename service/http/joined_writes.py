"""Replies in one piece: uvicorn writes a reply's head and body one after the other, a system call each."""

import asyncio
from collections.abc import Callable
from typing import Any


class JoinedWrites(asyncio.Transport):
    """`transport`, but what is written within a turn of the event loop leaves in one system call.

    It saves the server a call, and the client one of two times that it wakes up.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        loop: asyncio.AbstractEventLoop,
        on_close: Callable[[], None],
    ) -> None:
        """Take the connection, and what is called after each `close`, while something may still wait."""
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._on_close = on_close
        self._pieces: list[Any] = []

    def write(self, data: Any) -> None:
        """Send `data` at the end of this turn."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def close(self) -> None:
        """Close the connection once everything written is out."""
        self._flush()
        self._transport.close()
        self._on_close()

    def is_closing(self) -> bool:
        """Whether it is closed, or will be when all is out."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows of its socket."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Leave what the client sends to the system."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            # Else the client left within this turn, or nothing more may be said.
            if not self._transport.is_closing():
                self._transport.writelines(pieces)
