"""The server in one process: from settings to a listening service, and to its end.

An end loses nothing that a client has sent. New connections are kept out first; those that are there, and
those that wait to be accepted, have a moment in which a request on its way arrives and gets its reply, and
the close of the connection with it; then whatever is still in work gets the rest of the time to drain.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from .app import create_app
from .listener import BACKLOG, HANDSHAKE_S, listen, refuse_new_connections
from .loads import load_newest_on_hangup
from .models import LoadedModel
from .protocol import BoundedProtocol
from .service import Service
from .settings import Settings

logger = logging.getLogger(__name__)

# New objects between two searches for cycles; Python's own is 700.
_GC_THRESHOLD = 200_000
# Between two searches among the objects that are new since the last.
_GC_INTERVAL_S = 1.0
# For how long a thread may keep the interpreter from one that waits for it; Python's own is 5 ms. A runner
# with results, or the event loop with a request, waits as long, and a CPU with it.
_SWITCH_INTERVAL_S = 100e-6
# In which a request that is on its way to us arrives, on a connection that is kept alive.
_LINGER_S = 1.0

Companion = Callable[["Server"], Coroutine[Any, Any, None]]


def run(settings: Settings, *, models: list[LoadedModel]) -> None:
    """Serve `models` until SIGTERM or SIGINT, then let requests in work finish, and return.

    SIGHUP loads the newest version of each model. If some requests do not finish within the time to drain,
    this ends the process instead, with status 0.

    Raises:
        AddressError: the address cannot be listened on.
    """
    with listen(settings.host, settings.port) as listener:
        service = Service(settings, models=models)
        log_models(models, where=settings.base_url)
        server = Server(
            service,
            companion=lambda _: load_newest_on_hangup(service.loads),
            on_stop=lambda: refuse_new_connections(listener),
        )
        serve_until_stopped(server, listeners=[listener])


def serve_until_stopped(server: "Server", *, listeners: list[socket.socket]) -> None:
    """Serve on `listeners`, and what `server` adopts, until it is stopped; then close them."""
    _spare_the_garbage_collector()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    server.run(sockets=listeners)
    logger.info("stopped")
    num_in_threads = server.service.num_in_threads
    if num_in_threads:
        # Work in a thread cannot be cancelled, and Python would wait for it, however long it takes. Whoever
        # asked for it was told already.
        logger.warning("threads that outlast the drain, and are dropped: %d", num_in_threads)
        logging.shutdown()
        os._exit(0)


def log_models(models: Sequence[LoadedModel], *, where: str) -> None:
    """Say in the log what is served, and how."""
    for model in models:
        logger.info(
            "serving %s version %s (codebook %s, %s) at %s",
            model.name,
            model.version,
            model.tokenizer.levels.sha256[:12],
            model.tokenizer.backend.description,
            where,
        )


class Server(uvicorn.Server):
    """uvicorn's server, which drains before it closes, and returns after a signal instead of dying of it."""

    def __init__(self, service: Service, *, companion: Companion, on_stop: Callable[[], None]) -> None:
        """Take what concerns the process that it serves in.

        Args:
            service: what is served.
            companion: runs on the same event loop as long as the server does.
            on_stop: is called when the stop begins.
        """
        super().__init__(
            uvicorn.Config(
                create_app(service),
                lifespan="on",
                http=BoundedProtocol,
                ws="none",
                log_config=None,
                # ExchangeMiddleware writes the access log, with ids and times.
                access_log=False,
                server_header=False,
                # Else a client on this machine could write what it likes into the log as its address.
                proxy_headers=False,
                backlog=BACKLOG,
            )
        )
        self._on_stop = on_stop
        self.service = service
        self._companion = companion

    @property
    def num_connections(self) -> int:
        """Connections that are open."""
        return len(self.server_state.connections)

    async def adopt(self, connection: socket.socket) -> None:
        """Serve a connection that another process has accepted."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make_protocol, connection)
        except OSError:
            connection.close()  # the client is gone already

    def stop(self) -> None:
        """Begin to stop."""
        self.service.stop()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.service.stop()
        super().handle_exit(sig, frame)

    def _make_protocol(self) -> asyncio.Protocol:
        # As uvicorn does it for the connections that it accepts itself.
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        beside = [asyncio.create_task(work) for work in (self._companion(self), _collect_young_garbage())]
        for task in beside:
            task.add_done_callback(_log_failure)
        try:
            await super().serve(sockets)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await asyncio.sleep(HANDSHAKE_S)
        linger_until = time.monotonic() + min(_LINGER_S, self.service.remaining_s / 2)
        while self.server_state.connections and not self.force_exit and time.monotonic() < linger_until:
            await asyncio.sleep(0.02)
        # A float does as well where it is used.
        self.config.timeout_graceful_shutdown = self.service.remaining_s  # type: ignore[assignment]
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again at the end, and the process dies of it: a stop that was asked
        # for and went well would look like a crash.
        signals = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _log_failure(companion: "asyncio.Task[None]") -> None:
    if not companion.cancelled() and (error := companion.exception()) is not None:
        logger.error("what runs beside the server failed on a bug of the service", exc_info=error)


def _spare_the_garbage_collector() -> None:
    """Have it look at young objects less often, and at those of the start never again.

    Requests make objects by the hundred and few cycles: at the default, a quarter of the event loop's time
    goes to the search for them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 50)


async def _collect_young_garbage() -> None:
    """Until canceled, free the cycles that requests leave behind, a few at a time.

    There are some: `ast.literal_eval`, by which NumPy reads the header of an npy body, makes functions that
    refer to themselves. Up to `_GC_THRESHOLD` they would grow to tens of MiB and be freed in one long pause.
    """
    while True:
        await asyncio.sleep(_GC_INTERVAL_S)
        gc.collect(0)
