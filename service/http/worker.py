"""A worker: one of several processes that serve a port together, started and watched by the supervisor.

Run as a module, with the file descriptors of its ends of two socket pairs: for messages, and for connections.
"""

import asyncio
import itertools
import logging
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from typing import Any, NoReturn

from ..errors import LoadBusyError, LoadError, NotReadyError, TokenizerError
from ..runtime.threads import share_cpus
from .connections import receive_connections
from .control import (
    BEAT_INTERVAL_S,
    Beat,
    Channel,
    Closed,
    Failed,
    LoadEnded,
    LoadWanted,
    Prepare,
    Prepared,
    Settle,
    Start,
    Stopping,
    read_message,
    write_message,
)
from .loading import load_models, load_sound_models
from .loads import LoadReport
from .logs import configure_logging
from .metrics import Metrics
from .models import ServedModel
from .server import Server, log_models, serve_until_stopped
from .service import Service
from .settings import Settings
from .shared_metrics import SharedFiles

logger = logging.getLogger(__name__)

_CANNOT_START = 2
# A client that reconnects, or the next one, finds the worker with the fewest connections if this is short.
_CLOSED_INTERVAL_S = 0.02


def main() -> NoReturn:
    """Serve until the supervisor sends SIGTERM, or is gone."""
    # These are for the supervisor, and whoever sends them to every process means it alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    control, connections = (socket.socket(fileno=int(descriptor)) for descriptor in sys.argv[1:])
    with control.makefile("rb") as lines:
        start = read_message(lines.readline())
    assert isinstance(start, Start)
    try:
        serve(start, control=control, connections=connections)
    except TokenizerError as error:
        control.sendall(write_message(Failed(error=str(error))))
        sys.exit(_CANNOT_START)
    sys.exit(0)


def serve(start: Start, *, control: socket.socket, connections: socket.socket) -> None:
    """Serve as `start` says what comes over `connections`, in touch with the supervisor over `control`.

    Raises:
        TokenizerError: it cannot start.
    """
    settings = Settings.model_validate(start.settings)
    configure_logging(settings.log_level, log_format=settings.log_format)
    share_cpus(start.num_workers)
    metrics = Metrics(
        SharedFiles(start.metrics_directory, worker=start.worker), num_workers=start.num_workers
    )
    if start.is_restart:
        metrics.count_restart()
        models = load_sound_models(settings, versions=start.versions)
    else:
        models = load_models(settings, versions=start.versions)
    expected = start.versions if start.is_restart else None
    service = Service(settings, models=models, metrics=metrics, expected=expected)
    log_models(models, where=f"{settings.base_url} as worker {start.worker}")
    link = SupervisorLink(service, control=control, connections=connections)
    service.loader = link
    server = Server(service, companion=link.run, on_stop=link.announce_stop)
    serve_until_stopped(server, listeners=[])


class SupervisorLink:
    """A worker's line to the supervisor: signs of life go up, connections and loads come down."""

    def __init__(self, service: Service, *, control: socket.socket, connections: socket.socket) -> None:
        """Take the worker's ends of both socket pairs."""
        self._service = service
        self._control = control
        self._connections = connections
        self._num_adopted = 0
        self._num_arriving = 0
        self._num_lost = 0
        self._channel: Channel | None = None
        self._tickets = itertools.count()
        self._wanted: dict[int, asyncio.Future[LoadEnded]] = {}
        self._prepared: dict[int, ServedModel] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, server: Server) -> None:
        """Beat, and do what the supervisor says; stop `server` when the supervisor is gone."""
        self._channel = channel = await Channel.open(self._control)
        self._spawn(self._beat(server, channel))
        self._spawn(self._tell_closed(server, channel))
        self._connections.setblocking(False)
        asyncio.get_running_loop().add_reader(self._connections, self._adopt, server)
        try:
            while (message := await channel.receive()) is not None:
                match message:
                    case Prepare():
                        self._spawn(self._prepare(message, channel))
                    case Settle():
                        await self._settle(message)
                    case LoadEnded():
                        self._end_load(message)
            logger.warning("the supervisor is gone: this worker stops")
            server.stop()
        finally:
            asyncio.get_running_loop().remove_reader(self._connections)
            await channel.close()

    async def load(self, name: str, *, version: str | None) -> LoadReport:
        """Have the supervisor load it on every worker: see `Loader.load`."""
        if self._channel is None:
            raise LoadBusyError("this worker starts up; try again in a second")
        ticket = next(self._tickets)
        future = self._wanted[ticket] = asyncio.get_running_loop().create_future()
        try:
            self._channel.send(LoadWanted(ticket=ticket, name=name, version=version))
            ended = await future
        finally:
            del self._wanted[ticket]
        if ended.report is None:
            kind = LoadBusyError if ended.error_code == LoadBusyError.code else LoadError
            raise kind(ended.error)
        return LoadReport(**ended.report)

    def _end_load(self, message: LoadEnded) -> None:
        future = self._wanted.get(message.ticket)
        # Unless the request was canceled, by the end of the drain.
        if future is not None and not future.done():
            future.set_result(message)

    def announce_stop(self) -> None:
        """Have the supervisor send no more connections; those under way are served."""
        if self._channel is not None:
            self._channel.send(Stopping())

    def _adopt(self, server: Server) -> None:
        try:
            connections = receive_connections(self._connections)
        except (EOFError, ConnectionError):
            asyncio.get_running_loop().remove_reader(self._connections)
            return
        for connection in connections:
            # Also one that is lost, for the supervisor counts what it has sent.
            self._num_adopted += 1
            if connection is None:
                self._num_lost += 1
                continue
            self._num_arriving += 1
            self._spawn(self._serve(server, connection))

    async def _serve(self, server: Server, connection: socket.socket) -> None:
        try:
            await server.adopt(connection)
        finally:
            # Not before: what is neither here nor counted by the server would pass for closed.
            self._num_arriving -= 1

    async def _beat(self, server: Server, channel: Channel) -> None:
        while not self._service.is_broken:
            self._service.metrics.refresh(is_ready=self._service.is_ready)
            try:
                self._service.require_alive()
                is_alive = True
            except NotReadyError:
                is_alive = False
            channel.send(Beat(is_alive=is_alive, missing=list(self._service.models.missing)))
            self._log_lost()
            await asyncio.sleep(BEAT_INTERVAL_S)
        channel.send(Failed(error="the model failed its warm-up; see the log"))
        server.stop()

    def _log_lost(self) -> None:
        # With the beat and not at once: there may be thousands a second.
        num_lost, self._num_lost = self._num_lost, 0
        if num_lost:
            logger.error(
                "connections that were closed unserved, for no more files may be open: %d; "
                "raise the limit on open files",
                num_lost,
            )

    async def _tell_closed(self, server: Server, channel: Channel) -> None:
        num_told = 0
        while True:
            await asyncio.sleep(_CLOSED_INTERVAL_S)
            num_closed = self._num_adopted - self._num_arriving - server.num_connections
            if num_closed != num_told:
                channel.send(Closed(num_closed=num_closed))
                num_told = num_closed

    async def _prepare(self, message: Prepare, channel: Channel) -> None:
        started = time.monotonic()
        try:
            model = await self._service.loads.prepare(message.name, version=message.version)
        except LoadError as error:
            channel.send(Prepared(ticket=message.ticket, error=str(error)))
            return
        self._prepared[message.ticket] = model
        channel.send(
            Prepared(
                ticket=message.ticket,
                seconds=round(time.monotonic() - started, 3),
                codebook_hash=model.identity["codebook_hash"],
            )
        )

    async def _settle(self, message: Settle) -> None:
        model = self._prepared.pop(message.ticket, None)
        if model is None:
            return  # what failed here is called off everywhere
        if message.is_served:
            self._service.models.put(model)
        else:
            await asyncio.to_thread(model.close)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        # The loop itself keeps no task alive.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


if __name__ == "__main__":
    main()
