"""The ASGI app: routes, middleware and error handlers around the models."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from kohonen_tokenizer import __version__

from .access import KeyMiddleware, allow_origins
from .error_replies import add_error_handlers
from .exchange import ExchangeMiddleware
from .hot_path import HotPath
from .loop_lag import watch_event_loop
from .openapi import TITLE
from .routes import HOT_ROUTES, ROUTERS
from .service import Service


def create_app(service: Service) -> ASGIApp:
    """The ASGI app around `service`, which its lifespan starts and closes."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Beside the server, so that it can say "not ready" meanwhile.
        models = asyncio.create_task(service.run_models())
        lag = asyncio.create_task(watch_event_loop(service.metrics.observe_loop_lag))
        yield
        service.stop()
        models.cancel()
        lag.cancel()
        await asyncio.wait([models, lag])
        await asyncio.to_thread(service.close)

    # Our own /docs and /openapi.json stand in for FastAPI's: their examples are made for the model.
    app = FastAPI(
        title=TITLE, version=__version__, lifespan=lifespan, openapi_url=None, redirect_slashes=False
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    add_error_handlers(app, routers=ROUTERS)
    inner: ASGIApp = HotPath(app, routes=HOT_ROUTES)
    if not service.keyring.is_empty:
        inner = KeyMiddleware(inner, keyring=service.keyring)
    if origins := service.settings.cors_origins:
        # Around the keys, for browsers ask without one whether they may send it.
        inner = allow_origins(inner, origins=origins)
    outer: ASGIApp = ExchangeMiddleware(inner, service=service)
    if (endpoint := service.settings.otlp_endpoint) is not None:
        outer = _traced(outer, endpoint=endpoint)
    return outer


def _traced(app: ASGIApp, *, endpoint: str) -> ASGIApp:
    # Here, for what it imports is an extra; Settings allow no endpoint without that.
    from .tracing import TracingMiddleware

    return TracingMiddleware(app, endpoint=endpoint)
