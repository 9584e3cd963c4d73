"""OpenTelemetry traces: a span for each request, with a child for each of its stages.

Imported only where traces are wanted, for what sends them is an extra. Names and attributes are those of
the semantic conventions for HTTP server spans; what those lack is under `kohonen.`. FastAPI could trace too,
but not the calls on the hot path, which go past it.
"""

import asyncio
import threading
from collections.abc import Iterable
from http import HTTPMethod, HTTPStatus

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kohonen_tokenizer import __version__

from .stages import StageTime, recorded_stages

# What the last spans get to leave, after all requests are over.
_FLUSH_S = 2.0


class TracingMiddleware:
    """Sends a trace of each request to a collector; what is left goes out when the app ends.

    It stands around ExchangeMiddleware, whose request id and error code it tells.
    """

    def __init__(self, app: ASGIApp, *, endpoint: str) -> None:
        """Take the base URL of the collector, which takes OTLP over HTTP."""
        self._app = app
        resource = Resource.create({"service.name": "kohonen-tokenizer", "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        # Exports from a thread of its own, and drops spans where the collector does not keep up.
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("kohonen_tokenizer", __version__)
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._trace(scope, receive, send)
        else:
            await self._app(scope, receive, self._flushing(send))

    async def _trace(self, scope: Scope, receive: Receive, send: Send) -> None:
        parent = self._propagator.extract(_texts(scope["headers"]))
        method = scope["method"] if scope["method"] in HTTPMethod.__members__ else "_OTHER"
        span = self._tracer.start_span(
            method,
            context=parent,
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.path": scope["path"][:200],
                "url.scheme": scope["scheme"],
            },
        )
        stages: list[StageTime] = []
        recording = recorded_stages.set(stages)
        status: int | None = None

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            recorded_stages.reset(recording)
            self._add_stages(span, stages)
            _describe(span, scope, method=method, status=status)
            span.end()

    def _add_stages(self, span: Span, stages: Iterable[StageTime]) -> None:
        context = set_span_in_context(span)
        for stage in stages:
            child = self._tracer.start_span(stage.name, context=context, start_time=stage.start_ns)
            for name, size in stage.sizes.items():
                child.set_attribute(f"kohonen.{name}", size)
            child.end(stage.end_ns)

    def _flushing(self, send: Send) -> Send:
        async def send_after_flush(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                # Before the server hears that all is over, for it ends the process then. A daemon, for a
                # collector that is not there must not hold up the end.
                flush = threading.Thread(target=self._provider.shutdown, daemon=True)
                flush.start()
                await asyncio.to_thread(flush.join, _FLUSH_S)
            await send(message)

        return send_after_flush


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def _describe(span: Span, scope: Scope, *, method: str, status: int | None) -> None:
    """Tell in `span` what became of the request; `status` is None if the client left before the reply."""
    state = scope["state"]
    span.set_attribute("kohonen.request_id", state["request_id"])
    if (route := getattr(scope.get("route"), "path", None)) is not None:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
    error_code = state.get("error_code")
    if error_code is not None:
        span.set_attribute("kohonen.error_code", error_code)
    if status is None:
        span.set_attribute("error.type", "client_left")
        return
    span.set_attribute("http.response.status_code", status)
    # To a server, what the client did wrong is no error.
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.set_attribute("error.type", error_code or str(status))
        span.set_status(StatusCode.ERROR)
