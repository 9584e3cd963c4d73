"""A worker as the supervisor sees it: a process that is started, watched, and started again."""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from .connections import send_connection
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
)

logger = logging.getLogger(__name__)

_WATCH_INTERVAL_S = 0.5
# Without life for so long, a worker gets no more connections; it may be slow, or about to be killed.
_PATIENCE_S = 4 * BEAT_INTERVAL_S


class WorkerProcess:
    """One of the workers, and the process that is it at the moment.

    Attributes:
        number: which of the workers, from 0.
        is_up: whether the present process has shown that its models run.
        has_failed: whether no process was up since one ended that never was.
        missing: the names of the models that the present process should serve and cannot.
    """

    def __init__(
        self,
        number: int,
        *,
        timeout_s: float,
        on_life: Callable[[], None],
        on_load_wanted: "OnLoadWanted",
    ) -> None:
        """Take what concerns every process that will be this worker.

        Args:
            number: which of the workers, from 0.
            timeout_s: how long a process that is up may be without life.
            on_life: is called at every sign of life.
            on_load_wanted: is called with the worker and its wish.
        """
        self.number = number
        self.is_up = False
        self.has_failed = False
        self.missing: Sequence[str] = ()
        self._timeout_s = timeout_s
        self._on_life = on_life
        self._on_load_wanted = on_load_wanted
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._connections: socket.socket | None = None
        self._last_life = 0.0
        self._is_stopping = False
        self._stop_signal: signal.Signals | None = None
        self._num_given = 0
        self._num_closed = 0
        self._failure = ""
        self._preparing: dict[int, asyncio.Future[Prepared]] = {}

    @property
    def num_connections(self) -> int:
        """Connections that the process has, as far as is known."""
        return self._num_given - self._num_closed

    @property
    def takes_connections(self) -> bool:
        """Whether the process would serve one more at once."""
        is_lively = time.monotonic() - self._last_life < _PATIENCE_S
        return self.is_up and is_lively and not self._is_stopping

    def give(self, connection: socket.socket) -> None:
        """Hand a connection over: see `Taker.give`."""
        assert self._connections is not None
        send_connection(connection, over=self._connections)
        self._num_given += 1

    async def run(self, start: Start, *, environment: Mapping[str, str]) -> str:
        """Run a process until it ends, and say in a few words how it did.

        Raises:
            OSError: it cannot be started.
        """
        try:
            return await self._run(start, environment=environment)
        finally:
            self._forget()

    async def _run(self, start: Start, *, environment: Mapping[str, str]) -> str:
        self._failure = ""
        self._is_stopping = False
        self._num_given = self._num_closed = 0
        control, their_control = socket.socketpair()
        connections, their_connections = socket.socketpair()
        with connections, control:
            with their_control, their_connections:
                descriptors = (their_control.fileno(), their_connections.fileno())
                # Not a fork of this process, and a session of its own: what a terminal sends is for us alone.
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *(f"-W{option}" for option in sys.warnoptions),
                    *("-m", "kohonen_tokenizer.service.http.worker"),
                    *map(str, descriptors),
                    pass_fds=descriptors,
                    env=environment,
                    start_new_session=True,
                )
            connections.setblocking(False)
            self._connections = connections
            if self._stop_signal is not None:
                self.stop(self._stop_signal)  # which came while it was being started
            self._channel = await Channel.open(control)
            self._channel.send(start)
            watch = asyncio.create_task(self._watch())
            try:
                await self._listen(self._channel)
                status = await self._process.wait()
            finally:
                watch.cancel()
                await self._channel.close()
        return self._failure or _describe(status)

    async def prepare(self, message: Prepare) -> Prepared:
        """Have the worker load a version, and give its answer; the worker must be up."""
        assert self._channel is not None
        future: asyncio.Future[Prepared] = asyncio.get_running_loop().create_future()
        self._preparing[message.ticket] = future
        self._channel.send(message)
        return await future

    def send(self, message: Settle | LoadEnded) -> None:
        """Send `message`; a worker that has no process now needs none."""
        if self._channel is not None:
            self._channel.send(message)

    def stop(self, number: signal.Signals) -> None:
        """Send the signal `number` to the process, or to the one that is being started."""
        self._stop_signal = number
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _listen(self, channel: Channel) -> None:
        while (message := await channel.receive()) is not None:
            match message:
                case Beat():
                    self.missing = message.missing
                    if message.is_alive:
                        self.is_up = True
                        self.has_failed = False
                        self._last_life = time.monotonic()
                        self._on_life()
                case Closed():
                    self._num_closed = message.num_closed
                case Stopping():
                    self._is_stopping = True
                case Failed():
                    self._failure = message.error
                case Prepared():
                    self._preparing.pop(message.ticket).set_result(message)
                case LoadWanted():
                    self._on_load_wanted(self, message)

    def _forget(self) -> None:
        """Be without a process."""
        self.has_failed = not self.is_up
        self.is_up = False
        self.missing = ()
        self._process = self._channel = self._connections = None
        for ticket, future in self._preparing.items():
            future.set_result(Prepared(ticket=ticket, error="its process ended"))
        self._preparing.clear()

    async def _watch(self) -> None:
        """Kill the process when it has shown no life for too long; a start may take as long as it takes."""
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_S)
            silent_s = time.monotonic() - self._last_life
            if self._process is not None and self.is_up and silent_s > self._timeout_s:
                logger.error(
                    "worker %d has shown no life for %.1f s, the limit is %g s: it is killed",
                    self.number,
                    silent_s,
                    self._timeout_s,
                )
                self._process.kill()
                return


OnLoadWanted = Callable[[WorkerProcess, LoadWanted], None]


def _describe(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"
