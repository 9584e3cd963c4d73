"""What the supervisor and its workers tell each other: records, each a line of JSON over a socket pair."""

import asyncio
import contextlib
import dataclasses
import json
import socket
from dataclasses import dataclass
from typing import Any, Self

BEAT_INTERVAL_S = 1.0

# The longest lines are settings with thousands of API keys.
_MAX_LINE_BYTES = 2**24


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """To a worker, first of all: what it shall do."""

    settings: dict[str, Any]
    versions: dict[str, str]
    """By name, the versions that are served now."""
    worker: int
    num_workers: int
    metrics_directory: str
    is_restart: bool
    """Whether it takes the place of one that has ended; it serves what it can, then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """From a worker: it cannot start."""

    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """From a worker, every second: its event loop turns, and whether its models ran lately."""

    is_alive: bool
    missing: list[str]
    """Names of the models that it should serve and cannot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Closed:
    """From a worker, soon after some connections closed: who has how many decides who gets the next."""

    num_closed: int
    """Of all that it got."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopping:
    """From a worker: it was told to stop, and takes no more connections."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadWanted:
    """From a worker: a client wants a version, or the newest one, on all of them."""

    ticket: int
    name: str
    version: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadEnded:
    """To that worker: what became of it."""

    ticket: int
    report: dict[str, Any] | None = None
    error: str = ""
    error_code: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepare:
    """To a worker: load a version and warm it up, but serve the old one still."""

    ticket: int
    name: str
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """From a worker: that is done, or has failed with `error`."""

    ticket: int
    seconds: float = 0.0
    codebook_hash: str = ""
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settle:
    """To a worker: serve what was prepared, or drop it."""

    ticket: int
    is_served: bool


Message = Start | Failed | Beat | Closed | Stopping | LoadWanted | LoadEnded | Prepare | Prepared | Settle

_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (Start, Failed, Beat, Closed, Stopping, LoadWanted, LoadEnded, Prepare, Prepared, Settle)
}


def write_message(message: Message) -> bytes:
    """`message` as a line."""
    return json.dumps([type(message).__name__, dataclasses.asdict(message)]).encode() + b"\n"


def read_message(line: bytes) -> Message:
    """The message of a line that `write_message` made."""
    kind, fields = json.loads(line)
    return _KINDS[kind](**fields)


class Channel:
    """One end of the pair, for an event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, connection: socket.socket) -> Self:
        """Take a connected socket."""
        return cls(*await asyncio.open_unix_connection(sock=connection, limit=_MAX_LINE_BYTES))

    def send(self, message: Message) -> None:
        """Send `message`, unless nobody is at the other end any more."""
        if not self._writer.is_closing():
            self._writer.write(write_message(message))

    async def receive(self) -> Message | None:
        """The next message, or None when the other end is gone."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        # Half a line is what a process that was killed left behind.
        return read_message(line) if line.endswith(b"\n") else None

    async def close(self) -> None:
        """Be gone for the other end."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
