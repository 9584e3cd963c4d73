"""A worker as the supervisor sees it: a process that is started, watched, and started again."""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping

from .control import Beat, Channel, Failed, LoadEnded, LoadWanted, Prepare, Prepared, Settle, Start

logger = logging.getLogger(__name__)

_WATCH_INTERVAL_S = 0.5


class WorkerProcess:
    """One of the workers, and the process that is it at the moment.

    Attributes:
        number: which of the workers, from 0.
        is_up: whether the present process has shown that its models run.
    """

    def __init__(
        self, number: int, *, timeout_s: float, on_up: Callable[[], None], on_load_wanted: "OnLoadWanted"
    ) -> None:
        """Take what concerns every process that will be this worker.

        Args:
            number: which of the workers, from 0.
            timeout_s: how long a process that is up may be without life.
            on_up: is called when a process has come up.
            on_load_wanted: is called with the worker and its wish.
        """
        self.number = number
        self.is_up = False
        self._timeout_s = timeout_s
        self._on_up = on_up
        self._on_load_wanted = on_load_wanted
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._last_life = 0.0
        self._failure = ""
        self._preparing: dict[int, asyncio.Future[Prepared]] = {}

    async def run(self, start: Start, *, environment: Mapping[str, str]) -> str:
        """Run a process until it ends, and say in a few words how it did.

        Raises:
            OSError: it cannot be started.
        """
        self._failure = ""
        ours, theirs = socket.socketpair()
        with theirs:
            # Not a fork of this process, and a session of its own: what a terminal sends is for us alone.
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                *(f"-W{option}" for option in sys.warnoptions),
                *("-m", "kohonen_tokenizer.service.http.worker", str(theirs.fileno())),
                pass_fds=(theirs.fileno(), start.listener),
                env=environment,
                start_new_session=True,
            )
        self._channel = channel = await Channel.open(ours)
        channel.send(start)
        watch = asyncio.create_task(self._watch())
        try:
            await self._listen(channel)
            status = await process.wait()
        finally:
            watch.cancel()
            await channel.close()
            self.is_up = False
            self._process = self._channel = None
            for ticket, future in self._preparing.items():
                future.set_result(Prepared(ticket=ticket, error="its process ended"))
            self._preparing.clear()
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
        """Send the signal `number` to the process, if there is one."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _listen(self, channel: Channel) -> None:
        while (message := await channel.receive()) is not None:
            match message:
                case Beat(is_alive=True):
                    self._last_life = time.monotonic()
                    if not self.is_up:
                        self.is_up = True
                        self._on_up()
                case Failed():
                    self._failure = message.error
                case Prepared():
                    self._preparing.pop(message.ticket).set_result(message)
                case LoadWanted():
                    self._on_load_wanted(self, message)

    async def _watch(self) -> None:
        """Kill the process when it has shown no life for too long; a start may take as long as it takes."""
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_S)
            silent_s = time.monotonic() - self._last_life
            if self.is_up and silent_s > self._timeout_s:
                logger.error(
                    "worker %d has shown no life for %.1f s, the limit is %g s: it is killed",
                    self.number,
                    silent_s,
                    self._timeout_s,
                )
                self.stop(signal.SIGKILL)
                return


OnLoadWanted = Callable[[WorkerProcess, LoadWanted], None]


def _describe(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"
