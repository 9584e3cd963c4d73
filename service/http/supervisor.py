"""Several worker processes behind one port: started, watched, restarted, loaded and stopped together.

The supervisor accepts the connections and serves none: each goes to the worker that has the fewest, and none
to one that is not up or shows no life. All that a client sends, and gets, is between it and its worker. Only
while no worker comes up, the supervisor answers: with an error.

    the one port ──> supervisor ──connections──> worker 0
                              ├── control ─────> worker 0
                              ├──connections──> worker 1
                              └── control ─────> worker 1
"""

import asyncio
import dataclasses
import itertools
import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence

from ..errors import DeviceError, LoadBusyError, LoadError, WorkerError
from ..runtime.catalog import Catalog
from ..runtime.cuda import list_gpus
from .connections import Dealer
from .control import LoadEnded, LoadWanted, Prepare, Settle, Start
from .listener import HANDSHAKE_S, listen, refuse_new_connections
from .loads import LoadReport, Loads, load_newest_on_hangup
from .settings import Settings
from .shared_metrics import forget_gauges
from .stand_in import StandIn
from .worker_process import WorkerProcess

logger = logging.getLogger(__name__)

_GPUS_VARIABLE = "CUDA_VISIBLE_DEVICES"
# A process that ends sooner than this counts as one that dies at once, and is started again ever later.
_LONG_LIFE_S = 60.0
_MAX_BACK_OFF_S = 30.0
# Beyond the time to drain, in which workers end by themselves.
_KILL_AFTER_S = 5.0


def supervise(settings: Settings) -> None:
    """Serve with `settings.workers` processes until SIGTERM or SIGINT, and return when all have ended.

    SIGHUP loads the newest version of each model.

    Raises:
        AddressError: the address cannot be listened on.
        BundleError: there is nothing to serve.
        WorkerError: at the first start, a worker did not come up.
    """
    catalog = Catalog(bundle=settings.bundle, models=settings.models)
    versions = {name: there[-1] for name, there in catalog.versions().items()}
    with (
        listen(settings.host, settings.port) as listener,
        tempfile.TemporaryDirectory(prefix="kohonen-metrics-") as metrics_directory,
    ):
        supervisor = Supervisor(
            settings,
            catalog=catalog,
            versions=versions,
            listener=listener,
            metrics_directory=metrics_directory,
        )
        asyncio.run(supervisor.run())
    logger.info("all workers have stopped")


class Supervisor:
    """Keeps the workers running until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        *,
        catalog: Catalog,
        versions: Mapping[str, str],
        listener: socket.socket,
        metrics_directory: str,
    ) -> None:
        """Take what each worker needs; `run` starts them."""
        self._settings = settings
        self._listener = listener
        self._metrics_directory = metrics_directory
        self._gpus = visible_gpus(settings)
        self._stop = asyncio.Event()
        self._failure: WorkerError | None = None
        self._were_all_up = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers = [
            WorkerProcess(
                number,
                timeout_s=settings.worker_timeout_s,
                on_life=self._note_life,
                on_load_wanted=self._start_load,
            )
            for number in range(settings.workers)
        ]
        # A start that fails tells that the next one may too, and clients must not wait for all of them.
        stand_in = StandIn(is_needed=lambda: all(worker.has_failed for worker in self._workers))
        self._dealer = Dealer(listener, takers=[*self._workers, stand_in])
        self._loads = WorkerLoads(catalog, versions=versions, workers=self._workers)

    async def run(self) -> None:
        """Run the workers until a signal to stop, then let them drain.

        Raises:
            WorkerError: at the first start, a worker did not come up.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        hangups = asyncio.create_task(load_newest_on_hangup(self._loads))
        keepers = [asyncio.create_task(self._keep_running(worker)) for worker in self._workers]
        stop = asyncio.create_task(self._stop.wait())
        # A keeper ends before only if it fails, on a bug, and then all must end.
        await asyncio.wait([stop, *keepers], return_when=asyncio.FIRST_COMPLETED)
        self._stop.set()
        hangups.cancel()
        refuse_new_connections(self._listener)
        await asyncio.sleep(HANDSHAKE_S)
        self._dealer.close()
        for signal_number, patience_s in (
            (signal.SIGTERM, self._settings.drain_timeout_s + _KILL_AFTER_S),
            (signal.SIGKILL, None),
        ):
            for worker in self._workers:
                worker.stop(signal_number)
            _, pending = await asyncio.wait(keepers, timeout=patience_s)
            if not pending:
                break
            logger.error("workers that outlast the time to drain, and are killed: %d", len(pending))
        await asyncio.gather(*keepers)
        if self._failure is not None:
            raise self._failure

    async def _keep_running(self, worker: WorkerProcess) -> None:
        num_quick_ends = 0
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                end = await worker.run(self._start_of(worker), environment=self._environment_of(worker))
            except OSError as error:
                end = f"it cannot be started: {error.strerror}"
            forget_gauges(self._metrics_directory, worker=worker.number)
            if self._stop.is_set():
                return
            if not self._were_all_up:
                self._failure = WorkerError(f"worker {worker.number} did not come up: {end}")
                self._stop.set()
                return
            # Who waits may be for the stand-in now.
            self._dealer.resume()
            lived_long = time.monotonic() - started > _LONG_LIFE_S
            num_quick_ends = 0 if lived_long else num_quick_ends + 1
            back_off_s = min(_MAX_BACK_OFF_S, 2.0 ** (num_quick_ends - 2)) if num_quick_ends > 1 else 0.0
            logger.error(
                "worker %d is gone (%s): it is started again in %g s", worker.number, end, back_off_s
            )
            await self._sleep_unless_stopped(back_off_s)

    def _start_of(self, worker: WorkerProcess) -> Start:
        return Start(
            settings=self._settings.model_dump(mode="json"),
            versions=dict(self._loads.served()),
            worker=worker.number,
            num_workers=len(self._workers),
            metrics_directory=self._metrics_directory,
            is_restart=self._were_all_up,
        )

    def _environment_of(self, worker: WorkerProcess) -> dict[str, str]:
        if not self._gpus:
            return dict(os.environ)
        return {**os.environ, _GPUS_VARIABLE: self._gpus[worker.number % len(self._gpus)]}

    def _note_life(self) -> None:
        self._dealer.resume()
        if not self._were_all_up and all(worker.is_up for worker in self._workers):
            self._were_all_up = True
            logger.info("all %d workers are up at %s", len(self._workers), self._settings.base_url)

    def _start_load(self, worker: WorkerProcess, wanted: LoadWanted) -> None:
        task = asyncio.create_task(self._load(worker, wanted))
        # The loop itself keeps no task alive.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, worker: WorkerProcess, wanted: LoadWanted) -> None:
        try:
            report = await self._loads.load(wanted.name, version=wanted.version)
        except (LoadError, LoadBusyError) as error:
            worker.send(LoadEnded(ticket=wanted.ticket, error=str(error), error_code=error.code))
        else:
            worker.send(LoadEnded(ticket=wanted.ticket, report=dataclasses.asdict(report)))

    async def _sleep_unless_stopped(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), timeout=seconds)
        except TimeoutError:
            return


class WorkerLoads(Loads):
    """Loads a version on every worker or on none: all prepare it, and only then all serve it."""

    def __init__(
        self, catalog: Catalog, *, versions: Mapping[str, str], workers: Sequence[WorkerProcess]
    ) -> None:
        super().__init__(catalog)
        self._versions = dict(versions)
        self._workers = workers
        self._tickets = itertools.count()

    def served(self) -> Mapping[str, str]:
        """By name, the version that is served, and that a worker takes when it is started again."""
        return self._versions

    def missing(self) -> Collection[str]:
        """The names of those that a worker was started again without."""
        return {name for worker in self._workers for name in worker.missing}

    async def _replace(self, name: str, *, version: str) -> LoadReport:
        for worker in self._workers:
            if not worker.is_up:
                raise LoadBusyError(f"worker {worker.number} is not up; try again when it is")
        message = Prepare(ticket=next(self._tickets), name=name, version=version)
        answers = await asyncio.gather(*(worker.prepare(message) for worker in self._workers))
        errors = [f"worker {number}: {answer.error}" for number, answer in enumerate(answers) if answer.error]
        if not errors and len({answer.codebook_hash for answer in answers}) > 1:
            errors = ["the workers have read different bundles; do not change one while it is loaded"]
        # From here on without a pause, for a worker that starts meanwhile must know what was decided.
        for worker in self._workers:
            worker.send(Settle(ticket=message.ticket, is_served=not errors))
        if errors:
            raise LoadError(errors[0])
        previous = self._versions.get(name)
        self._versions[name] = version
        return LoadReport(
            model=name,
            version=version,
            previous_version=previous,
            codebook_hash=answers[0].codebook_hash,
            seconds=[answer.seconds for answer in answers],
        )


def visible_gpus(settings: Settings) -> list[str]:
    """The GPUs that workers may have, each as CUDA_VISIBLE_DEVICES names it; none where the CPU shall do."""
    if settings.device == "cpu":
        return []
    named = os.environ.get(_GPUS_VARIABLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    try:
        return [str(index) for index in range(len(list_gpus()))]
    except DeviceError:
        return []  # what that means for the device that was asked for, the workers say
