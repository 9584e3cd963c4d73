"""The ASGI app: routes, middleware and error handlers around one tokenizer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from fastapi import FastAPI

from kohonen_tokenizer import __version__

from ..runtime.tokenizer import Tokenizer
from .error_replies import add_error_handlers
from .exchange import ExchangeMiddleware
from .openapi import TITLE
from .routes import ROUTERS
from .service import Service
from .settings import Settings


def create_app(settings: Settings, *, tokenizer: Tokenizer) -> FastAPI:
    """An app that serves `tokenizer`; what its routes share is in `app.state.service`."""
    service = Service(settings, tokenizer=tokenizer)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Beside the server, so that it can say "not ready" meanwhile.
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.warm_up)
            yield
            service.stop()
            tasks.cancel_scope.cancel()

    # Our own /docs and /openapi.json stand in for FastAPI's: their examples are made for the model.
    app = FastAPI(
        title=TITLE, version=__version__, lifespan=lifespan, openapi_url=None, redirect_slashes=False
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    add_error_handlers(app, routers=ROUTERS)
    app.add_middleware(ExchangeMiddleware, metrics=service.metrics)
    return app
