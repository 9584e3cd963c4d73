"""What the routes share: the model, its workers, a bound on the requests in work, metrics, and readiness."""

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal, TypeVar, cast

import anyio.to_thread
import numpy as np
from anyio import CapacityLimiter
from fastapi import Depends
from starlette.requests import Request

from ..errors import NotReadyError, QueueFullError, StoppingError
from ..runtime.images import encode_png
from ..runtime.threads import available_threads
from ..runtime.tokenizer import Tokenizer
from .examples import Example, make_examples
from .metrics import Metrics, Operation, Stage
from .settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Service:
    """One served model and everything around it that requests have in common.

    Attributes:
        map_png: the picture of the map, once the warm-up is done.
        examples: the calls to document, once the warm-up is done.
        num_in_threads: pieces of work in worker threads, those that nobody waits for any more included.
    """

    def __init__(self, settings: Settings, *, tokenizer: Tokenizer) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self.metrics = Metrics(model=tokenizer.manifest.name, codebook_hash=tokenizer.codebook.sha256)
        self.map_png = b""
        self.examples: Sequence[Example] = ()
        self.num_in_threads = 0
        self._in_threads_lock = threading.Lock()
        self._num_pending = 0
        self._workers = CapacityLimiter(settings.num_workers or available_threads())
        self._warmth: Literal["warming up", "warm", "broken"] = "warming up"
        self._is_stopping = False

    async def run(self, operation: Operation, stage: Stage, work: Callable[[], T]) -> T:
        """Do `work` in a worker thread, so that it never holds up the event loop, and time it."""

        def timed() -> T:
            started = time.perf_counter()
            self._count_in_threads(1)
            try:
                return work()
            finally:
                self._count_in_threads(-1)
                self.metrics.count_stage(operation, stage=stage, seconds=time.perf_counter() - started)

        # Abandoned when cancelled, which happens only at the end of the process: see server.run.
        return await anyio.to_thread.run_sync(timed, limiter=self._workers, abandon_on_cancel=True)

    async def warm_up(self) -> None:
        """Run the model each way and make the map and the examples; only then is the service ready."""
        try:
            await self.run("warm-up", "infer", self._prepare)
        except Exception:
            logger.exception("the warm-up failed: the service stays unready")
            self._warmth = "broken"
        else:
            self._warmth = "warm"

    def stop(self) -> None:
        """Be unready from now on."""
        self._is_stopping = True

    def require_ready(self) -> None:
        """Return if the service can take requests.

        Raises:
            NotReadyError: the warm-up is not done, or it failed.
            StoppingError: the server was told to stop.
        """
        if self._is_stopping:
            raise StoppingError("the server stops; use another one")
        self.require_warm()

    def require_warm(self) -> None:
        """Return if the warm-up is done: until the last reply is out, a stop changes nothing about that.

        Raises:
            NotReadyError: it is not done, or it failed.
        """
        if self._warmth == "warming up":
            raise NotReadyError("the model warms up; try again in a second")
        if self._warmth == "broken":
            raise NotReadyError("the model failed its warm-up; see the server's log, then restart it")

    @contextmanager
    def admission(self) -> Iterator[None]:
        """Hold a place among the requests in work, from before the body is read until the reply is out.

        Raises:
            QueueFullError: every place is taken.
        """
        limit = self.settings.max_pending_requests
        if self._num_pending >= limit:
            raise QueueFullError(
                f"{self._num_pending} requests are in work, the limit is {limit}; try again later"
            )
        self._count_pending(1)
        try:
            yield
        finally:
            self._count_pending(-1)

    def _prepare(self) -> None:
        picture = self.tokenizer.map_image()
        image = self.tokenizer.manifest.image
        self.tokenizer.encode(picture[np.newaxis, : image.height, : image.width])
        self.map_png = encode_png(picture)
        self.examples = make_examples(self.tokenizer)

    def _count_pending(self, step: int) -> None:
        # On the event loop only, hence without a lock.
        self._num_pending += step
        self.metrics.set_pending(self._num_pending)

    def _count_in_threads(self, step: int) -> None:
        with self._in_threads_lock:
            self.num_in_threads += step


async def get_service(request: Request) -> Service:
    """The app's service, the same for every request."""
    # A coroutine, though it waits for nothing: FastAPI would run a plain function in a thread.
    return cast(Service, request.app.state.service)


ServiceDep = Annotated[Service, Depends(get_service)]


async def _admit(service: ServiceDep) -> AsyncIterator[None]:
    with service.admission():
        yield


Admitted = Depends(_admit)
