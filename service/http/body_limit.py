"""The cap on request bodies, counted while they arrive."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BodyTooLargeError


class BodyLimitMiddleware:
    """Stops reading a body at the first sign that it is too long: its Content-Length, or the bytes so far.

    The error is raised where the app reads the body, and so reaches the app's own error handlers.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        num_bytes_told = int(Headers(scope=scope).get("content-length", "0"))
        num_bytes = 0

        async def receive_within_limit() -> Message:
            nonlocal num_bytes
            self._check(num_bytes_told)
            message = await receive()
            num_bytes += len(message.get("body", b""))
            self._check(num_bytes)
            return message

        await self._app(scope, receive_within_limit, send)

    def _check(self, num_bytes: int) -> None:
        if num_bytes > self._max_body_bytes:
            raise BodyTooLargeError(
                f"the body has {num_bytes} bytes or more, the limit is {self._max_body_bytes}; "
                "send fewer or smaller images in a request"
            )
