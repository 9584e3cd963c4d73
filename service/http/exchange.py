"""Around every request: its id, its clock, its log line, and the last resort for bugs."""

import asyncio
import logging
import random
import re
import time
from collections.abc import Iterable
from http import HTTPStatus

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import StoppingError, TokenizerError
from .error_replies import error_response
from .service import Service

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-Id"
# What a client may choose goes into logs and headers, so it is short and plain.
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_REQUEST_ID_NAME = REQUEST_ID_HEADER.lower().encode()
# As nginx logs it: there is no status for a reply that nobody waits for.
CLIENT_LEFT = 499
_PROBES = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})


class ExchangeMiddleware:
    """Gives each request an id, in `scope["state"]["request_id"]`, and accounts for each reply."""

    def __init__(self, app: ASGIApp, *, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        method = scope["method"]
        if method == "HEAD":
            # A GET whose body the server leaves out (RFC 9110, section 9.3.2).
            scope = {**scope, "method": "GET"}
        request_id = _request_id(scope["headers"])
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = CLIENT_LEFT
        reply_headers: Iterable[tuple[bytes, bytes]] = ()

        async def send_with_id(message: Message) -> None:
            nonlocal status, reply_headers
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", []), (_REQUEST_ID_NAME, request_id.encode())]
                if self._service.is_stopping:
                    # So that a client that keeps its connection goes elsewhere with the next request.
                    headers.append((b"connection", b"close"))
                message["headers"] = reply_headers = headers
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:
            # uvicorn cancels what is left when the time to drain is over.
            if status != CLIENT_LEFT:
                raise
            await self._reply(
                StoppingError("the server stops now; send the request again"), scope, receive, send_with_id
            )
        except Exception:
            logger.exception(
                "request %s failed on a bug of the service",
                request_id,
                extra={"fields": {"request_id": request_id}},
            )
            if status != CLIENT_LEFT:
                raise  # half a reply is out: the server can only cut the connection
            await self._reply(
                TokenizerError("the service failed; quote the request id when you report this"),
                scope,
                receive,
                send_with_id,
            )
        finally:
            self._account(
                scope,
                method=method,
                status=status,
                reply_headers=reply_headers,
                seconds=time.perf_counter() - started,
            )

    async def _reply(self, error: TokenizerError, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        state["error_code"] = error.code
        reply = error_response(error, path=scope["path"], request_id=state["request_id"])
        await reply(scope, receive, send)

    def _account(
        self,
        scope: Scope,
        *,
        method: str,
        status: int,
        reply_headers: Iterable[tuple[bytes, bytes]],
        seconds: float,
    ) -> None:
        state = scope["state"]
        error_code = state.get("error_code")
        route = getattr(scope.get("route"), "path", "other")
        self._service.metrics.count_request(
            route, method=method, status=status, seconds=seconds, error_code=error_code
        )
        if route in _PROBES:
            level = logging.DEBUG
        else:
            level = logging.WARNING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
        if not logger.isEnabledFor(level):
            return
        client = (scope.get("client") or ("-",))[0]
        # Still percent-encoded, so that no client writes its own log lines.
        path = scope["raw_path"].decode("latin-1")[:200]
        fields = {
            "request_id": state["request_id"],
            "method": method,
            "path": path,
            "status": status,
            "seconds": round(seconds, 6),
            "client": client,
        }
        if error_code is not None:
            fields["error_code"] = error_code
        if "api_key" in state:
            fields["api_key"] = state["api_key"]
        for name, value in reply_headers:
            if name == b"x-model":
                fields["model"] = value.decode()
        logger.log(
            level,
            "%s %s %s %d%s %.1f ms id=%s",
            client,
            method,
            path,
            status,
            f" {error_code}" if error_code else "",
            seconds * 1000,
            state["request_id"],
            extra={"fields": fields},
        )


def new_request_id() -> str:
    """An id for a request that brought none."""
    # No secret, hence without the system call that a UUID makes.
    return f"{random.getrandbits(128):032x}"


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == _REQUEST_ID_NAME and _SANE_REQUEST_ID.fullmatch(value):
            return value.decode()
    return new_request_id()
