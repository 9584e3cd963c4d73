"""What the routes share: the model, its workers, the limits, the metrics, and readiness."""

import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Literal, TypeVar, cast

import anyio.to_thread
import numpy as np
from anyio import CapacityLimiter
from fastapi import Depends
from starlette.requests import Request

from ..errors import NotReadyError, ParameterError, StoppingError
from ..runtime.images import encode_png
from ..runtime.threads import available_threads
from ..runtime.tokenizer import Tokenizer
from .admission import Admission
from .metrics import Metrics, Operation, Stage
from .once import Once
from .settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Service:
    """One served model and everything around it that requests have in common."""

    def __init__(self, settings: Settings, *, tokenizer: Tokenizer) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self.metrics = Metrics(model=tokenizer.manifest.name, codebook_hash=tokenizer.codebook.sha256)
        self.admission = Admission(max_pending_requests=settings.max_pending_requests, metrics=self.metrics)
        self.map_png = Once(lambda: encode_png(tokenizer.map_image()))
        self._workers = CapacityLimiter(settings.num_workers or available_threads())
        self._state: Literal["warming up", "ready", "broken", "stopping"] = "warming up"

    async def run(self, operation: Operation, stage: Stage, work: Callable[[], T]) -> T:
        """Do `work` in a worker thread, so that it never holds up the event loop, and time it."""

        def timed() -> T:
            started = time.perf_counter()
            try:
                return work()
            finally:
                self.metrics.count_stage(operation, stage=stage, seconds=time.perf_counter() - started)

        return await anyio.to_thread.run_sync(timed, limiter=self._workers)

    async def warm_up(self) -> None:
        """Run the model once each way; only then is the service ready."""
        try:
            await anyio.to_thread.run_sync(self._run_once, limiter=self._workers)
        except Exception:
            logger.exception("the warm-up failed: the service stays unready")
            self._state = "broken"
        else:
            if self._state == "warming up":
                self._state = "ready"

    def stop(self) -> None:
        """Be unready from now on."""
        self._state = "stopping"

    def require_ready(self) -> None:
        """Return if the service can take requests.

        Raises:
            NotReadyError: the warm-up is not done, or it failed.
            StoppingError: the server was told to stop.
        """
        match self._state:
            case "warming up":
                raise NotReadyError("the model warms up; try again in a second")
            case "broken":
                raise NotReadyError("the model failed its warm-up; see the server's log, then restart it")
            case "stopping":
                raise StoppingError("the server stops; use another one")

    def _run_once(self) -> None:
        image = self.tokenizer.manifest.image
        gray = np.full((1, image.height, image.width, image.channels), 127, dtype=np.uint8)
        self.tokenizer.decode(self.tokenizer.encode(gray))


async def get_service(request: Request) -> Service:
    """The app's service, the same for every request."""
    # A coroutine, though it waits for nothing: FastAPI would run a plain function in a thread.
    return cast(Service, request.app.state.service)


ServiceDep = Annotated[Service, Depends(get_service)]


async def admit(service: ServiceDep) -> AsyncIterator[None]:
    """Hold a place among the requests in work, from before the body is read until the reply is out."""
    with service.admission.slot():
        yield


async def refuse_repeats(request: Request) -> None:
    """Let no parameter of the URL but `tokens` come twice: FastAPI would take the last one and tell nobody.

    Raises:
        ParameterError: one did.
    """
    for name in request.query_params:
        if name != "tokens" and len(request.query_params.getlist(name)) > 1:
            raise ParameterError(f"{name[:50]!r} is given more than once in the URL; give it once")


Admitted = Depends(admit)
Unrepeated = Depends(refuse_repeats)
