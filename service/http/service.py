"""What the routes share: the models, worker threads, bounds on the work that is let in, and readiness."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Annotated, Literal, TypeVar, cast

from fastapi import Depends
from starlette.requests import Request

from ..errors import DeviceError, NotReadyError, ParameterError, StoppingError, TokenizerError
from ..runtime.gpu_memory import GpuMemory
from ..runtime.threads import available_threads
from .admission import Admission, Place
from .auth import Keyring
from .body_threads import BodyThreads
from .loading import ModelLoads
from .loads import Loader
from .metrics import Metrics, Operation, Stage
from .models import LoadedModel, Models, ServedModel
from .profile import Profiler
from .settings import Settings
from .stages import recorded_stages, stage_that_ends_now

logger = logging.getLogger(__name__)

# JSON of as many integers takes some 50 microseconds.
_FEW_VALUES = 4096

TIMEOUT_HEADER = "X-Timeout-S"
EXPECT_HEADER = "X-Expect-Codebook-Hash"

T = TypeVar("T")


class Service:
    """The models and everything around them that requests have in common.

    Attributes:
        keyring: the API keys that clients may have.
        profiler: takes profiles of the process.
        models: those that take requests; a model is among them once it is warm.
        loads: loads other versions into this process.
        loader: loads them wherever they are served: in this process, or in all workers.
        is_stopping: whether the server was told to stop.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        models: list[LoadedModel],
        metrics: Metrics | None = None,
        expected: Mapping[str, str] | None = None,
    ) -> None:
        """Take the models, which `run_models` starts.

        Args:
            settings: of the service.
            models: are taken out of the list one by one, for what another version replaces must not be held
                on to.
            metrics: by default of this process alone.
            expected: by name, the versions that a process served in whose place this one is. Those of them
                that do not run are missing, and leave the others ready.
        """
        self.settings = settings
        self.metrics = metrics or Metrics()
        self.keyring = Keyring(settings.api_keys)
        self.profiler = Profiler()
        self.models = Models()
        self.is_stopping = False
        self._loaded = models
        self._expected = expected or {}
        self._stop_by = math.inf
        self._threads = BodyThreads(settings.num_body_threads or available_threads())
        self._load_thread = BodyThreads(1, name="load")
        self.loads = ModelLoads(settings, models=self.models, thread=self._load_thread, warm_up=self.warm_up)
        self.loader: Loader = self.loads
        if any(not loaded.tokenizer.backend.is_on_cpu for loaded in models):
            self._watch_gpu()
        self._admission = Admission(settings, queue_s=self._queue_s)
        self.metrics.watch_pending(lambda: self.num_pending)
        self._warmth: Literal["warming up", "warm", "broken"] = "warming up"

    async def run(self, operation: Operation, stage: Stage, work: Callable[[], T]) -> T:
        """Do `work` in a worker thread, so that it never holds up the event loop, and time it."""
        return await self._threads.run(self.timed(operation, stage, work))

    async def run_small(
        self, operation: Operation, stage: Stage, work: Callable[[], T], *, num_values: int
    ) -> T:
        """As `run`, but at once if the work is on so few values that a change of threads would cost more."""
        if num_values <= _FEW_VALUES:
            return self.timed(operation, stage, work)()
        return await self.run(operation, stage, work)

    def timed(self, operation: Operation, stage: Stage, work: Callable[[], T]) -> Callable[[], T]:
        """`work` for a worker thread, with a clock around it."""
        stages = recorded_stages.get()

        def timed_work() -> T:
            started = time.perf_counter()
            try:
                return work()
            finally:
                seconds = time.perf_counter() - started
                self.metrics.observe_stage(operation, stage=stage, seconds=seconds)
                if stages is not None:
                    stages.append(stage_that_ends_now(stage, seconds=seconds))

        return timed_work

    async def run_models(self) -> None:
        """Warm the models up, which makes the service ready, and keep an eye on them until canceled."""
        while self._loaded:
            name = self._loaded[0].name
            try:
                await self.serve(self._loaded.pop(0))
            except Exception:
                logger.exception("the warm-up failed: model %s is not served", name)
                if name not in self._expected:
                    self._warmth = "broken"
                    return
        self._note_missing()
        if self._expected and len(self.models.missing) == len(self._expected):
            self._warmth = "broken"
            return
        self._warmth = "warm"
        async with asyncio.TaskGroup() as canaries:
            while True:
                await asyncio.sleep(self.settings.canary_interval_s / 2)
                # Each on its own, for one that hangs must not make the others look dead.
                for model in self.models:
                    if not model.canaries.are_under_way:
                        canaries.create_task(_log_canary(model))

    def _note_missing(self) -> None:
        served = {model.name for model in self.models}
        for name, version in self._expected.items():
            if name not in served:
                self.models.missing[name] = version
                self.metrics.miss_model(name)

    async def serve(self, loaded: LoadedModel) -> None:
        """Warm `loaded` up, and only then have it take the requests to its name.

        Raises:
            Exception: whatever it fails with; all is as it was, then.
        """
        self.models.put(await self.warm_up(loaded))

    async def warm_up(self, loaded: LoadedModel) -> ServedModel:
        """`loaded` at work, checked and warm, but not yet for requests.

        Raises:
            Exception: whatever it fails with.
        """
        model = ServedModel(loaded, settings=self.settings, threads=self._threads, metrics=self.metrics)
        try:
            # Not in the threads of the requests, which go on with the version that is served.
            await self._load_thread.run(self.timed("warm-up", "infer", model.prepare))
            await model.canaries.try_due()
        except BaseException:
            await asyncio.to_thread(model.close)
            raise
        return model

    @property
    def num_in_threads(self) -> int:
        """Pieces of work in threads, those that nobody waits for any more included."""
        num_runs = sum(model.num_runs for model in self.models)
        return self._threads.num_busy + self._load_thread.num_busy + num_runs

    @property
    def remaining_s(self) -> float:
        """Seconds until all must be over, after `stop`."""
        return max(0.0, self._stop_by - time.monotonic())

    @property
    def is_broken(self) -> bool:
        """Whether the warm-up failed, so that this process never becomes ready."""
        return self._warmth == "broken"

    @property
    def num_pending(self) -> int:
        """Requests in work, bodies under way included."""
        return self._admission.num_pending

    def stop(self) -> None:
        """Be unready from now on, and over within the time to drain."""
        if not self.is_stopping:
            self.is_stopping = True
            self._stop_by = time.monotonic() + self.settings.drain_timeout_s

    def close(self) -> None:
        """End the models and the threads; blocks until the work that is queued is done, or time is up."""
        self.models.close(timeout_s=self.remaining_s)
        self._threads.close()
        self._load_thread.close()

    def require_ready(self) -> None:
        """Return if the service can take requests and every model ran in the last seconds.

        Raises:
            NotReadyError: the warm-up is not done, or it failed, or a model does not run any more.
            StoppingError: the server was told to stop.
        """
        if self.is_stopping:
            raise StoppingError("the server stops; use another one")
        self.require_alive()

    def require_alive(self) -> None:
        """Return if the warm-up is done and every model ran in the last seconds.

        Raises:
            NotReadyError: it is not, or it failed, or a model does not run any more.
        """
        self.require_warm()
        for model in self.models:
            model.canaries.require_alive()

    @property
    def is_ready(self) -> bool:
        """Whether `require_ready` returns."""
        try:
            self.require_ready()
        except TokenizerError:
            return False
        return True

    def require_warm(self) -> None:
        """Return if the warm-up is done: until the last reply is out, a stop changes nothing about that.

        Raises:
            NotReadyError: it is not done, or it failed.
        """
        if self._warmth == "warming up":
            raise NotReadyError("the model warms up; try again in a second")
        if self._warmth == "broken":
            raise NotReadyError("the model failed its warm-up; see the server's log, then restart it")

    def deadline(self, request: Request) -> float:
        """The time, of `time.monotonic`, at which `request` must have its result.

        Raises:
            ParameterError: its X-Timeout-S is no number of seconds within the limit.
        """
        limit_s = self.settings.timeout_s
        text = request.headers.get(TIMEOUT_HEADER)
        if text is None:
            return time.monotonic() + limit_s
        try:
            timeout_s = float(text)
        except ValueError:
            timeout_s = math.nan
        if not 0 < timeout_s <= limit_s:
            raise ParameterError(
                f"{TIMEOUT_HEADER} is {text[:50]!r}; give seconds above 0 and at most {limit_s:g}"
            )
        return time.monotonic() + timeout_s

    def use_model(self, name: str | None, *, request: Request) -> AbstractContextManager[ServedModel]:
        """As `Models.use`, if it has the codebook that `request` expects by its X-Expect-Codebook-Hash."""
        return self.models.use(name, codebook_hash=request.headers.get(EXPECT_HEADER))

    def admission(self, *, deadline: float = math.inf) -> Place:
        """A place among the requests in work, for a `with` around all that is done for one.

        Entering it raises QueueFullError if every place is taken.

        Args:
            deadline: that of the request, by `time.monotonic`.
        """
        return Place(self._admission, deadline=deadline)

    def _watch_gpu(self) -> None:
        try:
            self.metrics.watch_gpu(GpuMemory())
        except DeviceError as error:
            logger.warning("the metrics will not show the GPU's memory: %s", error)

    def _queue_s(self) -> float:
        return max((model.queue_s for model in self.models), default=0.0)


async def _log_canary(model: ServedModel) -> None:
    try:
        await model.canaries.try_due()
    except Exception as error:
        logger.error("the canary of model %s failed: %s", model.name, error)


def service_of(request: Request) -> Service:
    """The app's service, the same for every request."""
    return cast(Service, request.app.state.service)


async def _get_service(request: Request) -> Service:
    # A coroutine, though it waits for nothing: FastAPI would run a plain function in a thread.
    return service_of(request)


ServiceDep = Annotated[Service, Depends(_get_service)]


async def _admit(service: ServiceDep) -> AsyncIterator[None]:
    with service.admission():
        yield


Admitted = Depends(_admit)
