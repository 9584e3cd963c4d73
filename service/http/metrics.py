"""What the service counts and times, in Prometheus' format. One registry an app, so that apps do not mix."""

from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

Operation = Literal["encode", "decode", "neighbors", "codebook", "docs", "warm-up"]
Stage = Literal["parse", "infer", "reply"]

METRICS_MEDIA_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Metrics:
    """The counters, gauges and histograms of one app."""

    def __init__(self, *, model: str, codebook_hash: str) -> None:
        # Or each counter had a twin with its time of birth. The library's switch is for the whole process.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        Info("kohonen_model", "The model that is served.", registry=self._registry).info(
            {"name": model, "codebook_hash": codebook_hash}
        )
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
            "Seconds of work in a worker thread, by stage.",
            ["operation", "stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._images = Counter(
            "kohonen_images_total",
            "Images encoded or decoded.",
            ["operation"],
            registry=self._registry,
        )
        self._errors = Counter(
            "kohonen_errors_total", "Errors answered, by code.", ["code"], registry=self._registry
        )
        self._pending = Gauge(
            "kohonen_pending_requests",
            "Requests in work, bodies under way included.",
            registry=self._registry,
        )

    def count_request(
        self, route: str, *, method: str, status: int, seconds: float, error_code: str | None
    ) -> None:
        """Count one finished request; `route` is one of the app's own paths, or "other"."""
        # Clients choose the method, and every value of a label is kept for ever.
        known_method = method if method in _METHODS else "other"
        self._requests.labels(route=route, method=known_method, status=status).inc()
        self._request_seconds.labels(route=route).observe(seconds)
        if error_code is not None:
            self._errors.labels(code=error_code).inc()

    def count_stage(self, operation: Operation, *, stage: Stage, seconds: float) -> None:
        """Add the time of one stage of one request."""
        self._stage_seconds.labels(operation=operation, stage=stage).observe(seconds)

    def count_images(self, operation: Operation, *, num_images: int) -> None:
        """Count the images of one request that went through the model."""
        self._images.labels(operation=operation).inc(num_images)

    def set_pending(self, num_requests: int) -> None:
        """Tell how many requests are in work."""
        self._pending.set(num_requests)

    def expose(self) -> bytes:
        """All values, as METRICS_MEDIA_TYPE."""
        return generate_latest(self._registry)
