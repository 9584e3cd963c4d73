"""The engine for a cluster: Ray Data deals the shards to actors, each with a model of its own.

Ray decides where an actor runs, gives it its CPUs and its part of a GPU, and hands the shard of one that died
to another. What it carries is the number of a shard one way and its commit record the other: images go from
the source to a worker and tokens from there to the destination, which all machines must see.
"""

import logging
import os
import pickle
import socket
import sys
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import ray
import ray.data

from kohonen_tokenizer.service.errors import TokenizerError

from .encoding import Work
from .errors import BatchError, EngineError, SourceError, WorkerError
from .rows import failed_rows, read_rows
from .shards import ShardRecord
from .tally import Tally
from .workers import Worker, hurry_threads

# Ray gives a shard to another actor however often it has killed one before, and out of memory it always does.
_MAX_ATTEMPTS = 3

_CONNECT_TIMEOUT_S = 10.0

_EXECUTOR_TIMEOUT_S = 30.0

_Column = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class RayEngine:
    """Actors of a Ray cluster. One that dies costs the shard that it was encoding, and another does that."""

    num_workers: int | None = None
    """None for as many as the cluster has room for when the job begins."""
    gpus_per_worker: float = 0.0
    address: str | None = None
    """Of the cluster; None for RAY_ADDRESS, or for one of this machine, which is started if there is none."""

    @property
    def num_threads(self) -> int:
        """One, and so many CPUs Ray gives a worker."""
        return 1

    def encode_shards(
        self, work: Work, shards: Sequence[int], *, tally: Tally
    ) -> Generator[ShardRecord, None, None]:
        """Encode `shards`, as Engine has it; `tally` counts a shard when it is complete."""
        with _cluster(self.address):
            num_workers = min(len(shards), self.num_workers or self._room(work))
            attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Attempts).remote()
            # A block is what Ray deals out, and an actor has one at a time: none waits behind a busy one.
            outcomes = ray.data.from_items(list(shards), override_num_blocks=len(shards)).map_batches(
                _Actor,
                batch_size=1,
                fn_constructor_kwargs={"work": work, "max_errors": tally.max_errors, "attempts": attempts},
                compute=ray.data.ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=1),
                num_cpus=work.num_threads,
                num_gpus=self.gpus_per_worker or None,
            )
            batches = outcomes.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0)
            with closing(cast(Generator[_Column, None, None], iter(batches))) as iterator:
                for outcome in iterator:
                    for pickled in outcome["pickled"]:
                        yield _record(pickle.loads(pickled), work=work, tally=tally)

    def _room(self, work: Work) -> int:
        needs = {"CPU": float(work.num_threads), "GPU": self.gpus_per_worker}
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        machines = [node["Resources"] for node in nodes if node["Alive"]]
        # A worker is on one machine: what is left over on several does not add up to one.
        room = sum(
            min(int(machine.get(name, 0) / amount) for name, amount in needs.items() if amount)
            for machine in machines
        )
        if not room:
            raise EngineError(
                f"none of the {len(machines)} machines of the cluster has the {needs['CPU']:g} CPUs and "
                f"{needs['GPU']:g} GPUs that a worker takes; add one, or give --workers if they come on "
                "demand"
            )
        return room


class _Attempts:
    """Counts, for all actors, how often each shard was begun."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, shard: int) -> int:
        self._begun[shard] += 1
        return self._begun[shard]


class _Actor:
    """A worker under Ray.

    Errors that a user can mend are returned: of what is raised Ray makes its own, and prints it.
    """

    def __init__(self, *, work: Work, max_errors: int | None, attempts: Any) -> None:
        self._work = work
        self._attempts = attempts
        self._worker = Worker(work, Tally(max_errors=max_errors))
        hurry_threads()

    def __call__(self, batch: _Column) -> _Column:
        outcome: ShardRecord | Exception
        try:
            outcome = self._encode(int(batch["item"][0]))
        except (BatchError, TokenizerError, OSError) as error:
            outcome = error
        return {"pickled": np.array([pickle.dumps(outcome)], dtype=object)}

    def _encode(self, shard: int) -> ShardRecord:
        attempt = ray.get(self._attempts.begin.remote(shard))
        if attempt > _MAX_ATTEMPTS:
            raise WorkerError(
                f"shard {shard} was begun {_MAX_ATTEMPTS} times, and each time its worker died (out of "
                "memory?); the same command carries on, with a smaller --batch-size where memory is short"
            )
        storage = self._work.source.storage
        if storage.is_local and not storage.local_path().exists():
            # Or each of its images would be a failed row.
            raise SourceError(
                f"{socket.gethostname()} does not see {storage.url}; give a folder that all machines of the "
                "cluster share, or a URL"
            )
        return self._worker.encode(shard)


def _record(outcome: ShardRecord | Exception, *, work: Work, tally: Tally) -> ShardRecord:
    if isinstance(outcome, Exception):
        raise outcome
    failed = []
    if outcome.num_failed:
        rows = read_rows(work.destination.read(outcome.file), identity=work.plan.identity)
        failed = failed_rows(rows)
    tally.add(outcome.num_images, failed=failed)
    return outcome


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Be connected to the cluster; what Ray has to say goes to its log files, or to stderr where it insists.

    It insists on a line about how Ray Data makes actors, and on one for a worker that died.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)
    # stdout is for the job's result.
    with redirect_stdout(sys.stderr):
        try:
            _require_answer(address or os.environ.get("RAY_ADDRESS", ""))
            ray.init(
                address=address, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False
            )
        except (OSError, ValueError) as error:
            raise EngineError(
                f"Ray at {address or 'RAY_ADDRESS'}: {error}; give --ray-address HOST:PORT of one that runs"
            ) from None
        try:
            yield
        except ray.exceptions.RayTaskError:
            raise  # a bug of ours, with its traceback
        except ray.exceptions.RayError as error:
            raise WorkerError(
                f"Ray: {str(error).strip().splitlines()[-1]}; the same command carries on"
            ) from None
        finally:
            _wait_for_executors()
            ray.shutdown()


def _wait_for_executors() -> None:
    """Ray ends a process, with status 1, one of whose threads asks it for something after its shutdown.

    Ray Data waits 2 s for its own when it is closed, which on a busy machine can be too little.
    """
    for thread in threading.enumerate():
        if thread.name.startswith("StreamingExecutor"):
            thread.join(timeout=_EXECUTOR_TIMEOUT_S)


def _require_answer(address: str) -> None:
    """Ray itself tries for many minutes where nobody listens.

    Raises:
        OSError: nobody does.
        ValueError: this is no HOST:PORT.
    """
    if "://" in address:
        raise ValueError("Ray Client is not served: start the job on a machine of the cluster")
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()
