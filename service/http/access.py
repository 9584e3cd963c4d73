"""Who may make which call: keys at the door, the admin's scope at some routes, and pages of other origins."""

from fastapi import Depends
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import TokenizerError
from .auth import Keyring
from .error_replies import error_reply
from .service import service_of

# Probes come from machines without keys. The page and the documentation hold no secret, only the name and the
# sizes of a model; their calls need a key.
_OPEN_PATHS = frozenset({"/", "/docs", "/openapi.json", "/healthz", "/readyz"})
_OPEN_PREFIXES = ("/v2/health/", "/page/")
# What a page needs beside the few headers that browsers show it unasked: who answered, and how to read it.
_EXPOSED_HEADERS = (
    "X-Request-Id",
    "X-Error-Code",
    "X-Model",
    "X-Model-Version",
    "X-Codebook-Hash",
    "ETag",
    "Retry-After",
    "Inference-Header-Content-Length",
)


class KeyMiddleware:
    """Lets a request through only with a key for use, but for probes, the page and the documentation."""

    def __init__(self, app: ASGIApp, *, keyring: Keyring) -> None:
        self._app = app
        self._keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_open(scope):
            try:
                name = self._keyring.check(scope["headers"], scope="use")
            except TokenizerError as error:
                await error_reply(Request(scope), error)(scope, receive, send)
                return
            # For the log.
            scope["state"]["api_key"] = name
        await self._app(scope, receive, send)


def allow_origins(app: ASGIApp, *, origins: tuple[str, ...]) -> ASGIApp:
    """`app` for web pages of `origins` too: browsers ask for that first."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=_EXPOSED_HEADERS,
    )


async def _require_admin(request: Request) -> None:
    service_of(request).keyring.check(request.scope["headers"], scope="admin")


def is_open(path: str) -> bool:
    """Whether calls of `path` need no key, though the service has keys."""
    return path in _OPEN_PATHS or path.startswith(_OPEN_PREFIXES)


# At the routes, and not by path at the door: a path that is read in two ways must not be a way in.
AdminOnly = Depends(_require_admin)


def _is_open(scope: Scope) -> bool:
    return is_open(scope["path"].removeprefix(scope.get("root_path", "")))
