"""A TCP proxy that does to connections what networks, balancers and busy services do."""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What happens to one request."""

    drop: bool = False
    """The connection is reset before the request reaches the service."""
    drop_reply: bool = False
    """The service answers, and the connection is reset instead."""
    truncate: bool = False
    """The second half of the reply never comes, and the connection ends."""
    delay_s: float = 0.0
    """The request waits as long."""
    answer: bytes | None = None
    """This is the reply, and the service hears nothing."""


@dataclass
class FaultyProxy:
    """Passes requests on, one fault of `faults` for each in the order of their arrival; then none.

    Attributes:
        url: of the proxy.
        target: of the service, which may change.
        requests: the head of each request that came.
        most_at_once: of requests under way.
    """

    url: str
    target: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    most_at_once: int = 0
    num_under_way: int = 0
    num_connections: int = 0

    def paths(self) -> list[str]:
        """The path of each request that came, without its query."""
        return [re.split(rb"[ ?]", head)[1].decode() for head in self.requests]

    def headers(self, name: str) -> list[str]:
        """The values of a header, of each request that came with one."""
        pattern = re.compile(rb"^" + name.encode() + rb": (.*?)\r$", re.IGNORECASE | re.MULTILINE)
        return [found[1].decode() for head in self.requests if (found := pattern.search(head))]


@contextmanager
def faulty_proxy(url: str, *faults: Fault) -> Iterator[FaultyProxy]:
    """A proxy of the service at `url`, in a thread of its own."""
    proxy = FaultyProxy(url="", target=url, faults=list(faults))
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            proxy.num_connections += 1
            try:
                # asyncio's own callback would log a task that was canceled.
                with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    await _pass_on(proxy, reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await stop.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # What they closed is closed in the next turn of the loop.
        await asyncio.sleep(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(timeout=10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _pass_on(proxy: FaultyProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The requests of one connection, each to a new connection of the service."""
    while True:
        head, body = await _read_message(reader)
        proxy.requests.append(head)
        fault = proxy.faults.pop(0) if proxy.faults else Fault()
        proxy.num_under_way += 1
        proxy.most_at_once = max(proxy.most_at_once, proxy.num_under_way)
        try:
            await asyncio.sleep(fault.delay_s)
            if fault.drop:
                writer.transport.abort()
                return
            reply = fault.answer or await _ask(head + body, target=proxy.target)
        finally:
            proxy.num_under_way -= 1
        if fault.drop_reply:
            writer.transport.abort()
            return
        writer.write(reply[: len(reply) // 2] if fault.truncate else reply)
        await writer.drain()
        if fault.truncate:
            return


async def _ask(request: bytes, *, target: str) -> bytes:
    address = urlsplit(target)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(request)
        return b"".join(await _read_message(reader))
    finally:
        writer.close()


async def _read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"^content-length: (\d+)", head, re.IGNORECASE | re.MULTILINE)
    return head, await reader.readexactly(int(length[1]) if length else 0)
