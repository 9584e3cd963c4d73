"""What the service counts and times, in Prometheus' format.

One registry an app, so that apps do not mix; or, of several workers, the sums over all of them.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ..batching.batcher import Batcher
from ..batching.work import Work
from ..errors import DeviceError
from ..runtime.gpu_memory import GpuMemory
from .shared_metrics import ProcessMetrics, SharedFiles

Operation = Literal[
    "encode",
    "decode",
    "neighbors",
    "neighbor-table",
    "soft-targets",
    "perturb",
    "interpolate",
    "codebook",
    "docs",
    "warm-up",
]
Stage = Literal["decode", "queue", "infer", "encode"]

METRICS_MEDIA_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Metrics:
    """The counters, gauges and histograms of one app."""

    def __init__(self, shared: SharedFiles | None = None, *, num_workers: int = 1) -> None:
        """Make them, for this process alone or in the files that it shares with `num_workers` in all."""
        # Or each counter had a twin with its time of birth. The library's switch is for the whole process.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._shared = shared
        self._process: ProcessMetrics | None = None
        if shared is None:
            ProcessCollector(registry=self._registry)
        else:
            shared.use()
            self._process = ProcessMetrics(shared.worker)
        self._batchers: dict[str, Batcher] = {}
        self._count_pending: Callable[[], float] = lambda: 0.0
        self._model = Gauge(
            "kohonen_model_info",
            "1 for the version of a model that takes requests, 0 for one that did.",
            ["model", "version", "codebook_hash"],
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self._models: dict[str, Gauge] = {}
        self._requests = Counter(
            "kohonen_requests_total",
            "Requests answered; status 499 is a client that left before the reply.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "kohonen_request_seconds",
            "Seconds from a request's headers to the end of its reply.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stage_seconds = Histogram(
            "kohonen_stage_seconds",
            "Seconds of a request's stages: decode (its body to arrays), queue, infer, encode (its reply).",
            ["operation", "stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._images = Counter(
            "kohonen_images_total",
            "Images encoded or decoded for requests.",
            ["operation"],
            registry=self._registry,
        )
        self._batch_size = Histogram(
            "kohonen_batch_size",
            "Images of one model run.",
            ["operation"],
            buckets=_IMAGES,
            registry=self._registry,
        )
        self._batch_seconds = Histogram(
            "kohonen_batch_seconds",
            "Seconds of one model run.",
            ["operation"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._loop_lag = Histogram(
            "kohonen_event_loop_lag_seconds",
            "Seconds that the event loop was late, asked some fifty times a second.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._queued = Gauge(
            "kohonen_queue_images",
            "Images and token grids that wait for a model run.",
            ["model"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._errors = Counter(
            "kohonen_errors_total", "Errors answered, by code.", ["code"], registry=self._registry
        )
        self._rejected = Counter(
            "kohonen_rejected_total",
            "Requests turned away for want of room or time, by code.",
            ["code"],
            registry=self._registry,
        )
        self._pending = Gauge(
            "kohonen_pending_requests",
            "Requests in work, bodies under way included.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._workers = Gauge(
            "kohonen_workers",
            "Processes that serve, by whether all models of theirs ran in the last seconds.",
            ["ready"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        Gauge(
            "kohonen_workers_configured",
            "Processes that should serve.",
            registry=self._registry,
            multiprocess_mode="livemax",
        ).set(num_workers)
        self._gpu_memory = Gauge(
            "kohonen_gpu_memory_used_bytes",
            "Memory of the GPU in use, that of other processes included.",
            ["gpu"],
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self._gpu: GpuMemory | None = None
        self._restarts = Counter(
            "kohonen_worker_restarts_total",
            "Processes started in the place of one that had ended.",
            registry=self._registry,
        )
        self._missing = Gauge(
            "kohonen_missing_models",
            "Processes that were started again and cannot serve a model that was served before.",
            ["model"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        # A child costs more to find than to count with.
        self._request_counter = lru_cache(1024)(self._requests.labels)
        self._request_timer = lru_cache(256)(self._request_seconds.labels)
        self._stage_timer = lru_cache(256)(self._stage_seconds.labels)

    def watch_model(self, model: str, *, version: str, codebook_hash: str, batcher: Batcher) -> None:
        """Show a model that is served from now on, and how much waits for it."""
        if model in self._models:
            self._models[model].set(0)
        self._models[model] = self._model.labels(model, version, codebook_hash)
        self._models[model].set(1)
        self._batchers[model] = batcher
        self._missing.labels(model).set(0)

    def watch_gpu(self, memory: GpuMemory) -> None:
        """Show the memory of the GPU that this process uses."""
        self._gpu = memory

    def miss_model(self, model: str) -> None:
        """Show a model that should be served and is not."""
        self._missing.labels(model).set(1)

    def count_restart(self) -> None:
        """Count this process as one in the place of another."""
        self._restarts.inc()

    def count_request(
        self, route: str, *, method: str, status: int, seconds: float, error_code: str | None
    ) -> None:
        """Count one finished request; `route` is one of the app's own paths, or "other"."""
        # Clients choose the method, and every value of a label is kept for ever.
        known_method = method if method in _METHODS else "other"
        self._request_counter(route, known_method, status).inc()
        self._request_timer(route).observe(seconds)
        if error_code is not None:
            self._errors.labels(code=error_code).inc()
            if status in (429, 503, 504):
                self._rejected.labels(code=error_code).inc()

    def observe_loop_lag(self, seconds: float) -> None:
        """Add how late the event loop was once."""
        self._loop_lag.observe(seconds)

    def observe_stage(self, operation: Operation, *, stage: Stage, seconds: float) -> None:
        """Add the time of one stage of one request."""
        self._stage_timer(operation, stage).observe(seconds)

    def observe_work(self, operation: Operation, work: Work) -> None:
        """Add what one request had of the model."""
        self._images.labels(operation).inc(work.num_rows)
        self._stage_timer(operation, "queue").observe(work.queue_s)
        self._stage_timer(operation, "infer").observe(work.infer_s)

    def observe_batch(self, operation: str, num_images: int, seconds: float) -> None:
        """Add one model run."""
        self._batch_size.labels(operation).observe(num_images)
        self._batch_seconds.labels(operation).observe(seconds)

    def watch_pending(self, count: Callable[[], float]) -> None:
        """Show what `count` says of the requests in work."""
        self._count_pending = count

    def refresh(self, *, is_ready: bool) -> None:
        """Write what is true now and not counted: of several workers, each does so every second."""
        for model, batcher in self._batchers.items():
            self._queued.labels(model).set(batcher.num_queued)
        self._pending.set(self._count_pending())
        if self._gpu is not None:
            try:
                used = float(self._gpu.used_bytes())
            except DeviceError:
                used = math.nan  # not known: the GPU is lost, of which the canary tells
            self._gpu_memory.labels(self._gpu.bus_id).set(used)
        self._workers.labels("true").set(is_ready)
        self._workers.labels("false").set(not is_ready)
        if self._process is not None:
            self._process.refresh()

    def expose(self) -> bytes:
        """All values, as METRICS_MEDIA_TYPE; of several workers, their sums."""
        return generate_latest(self._registry if self._shared is None else self._shared.sums())
