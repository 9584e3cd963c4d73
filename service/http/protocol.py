"""HTTP/1.1 on a connection: uvicorn's protocol, with bounds on all that is not a request's body.

uvicorn has none with httptools: a client without a key could send headers without end, each byte of which
costs more than the last, or requests without end ahead of their replies, or hold a connection for ever by
sending nothing, or by reading nothing.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ..errors import HeaderTooLargeError, InputError
from .error_replies import error_response
from .exchange import new_request_id
from .joined_writes import JoinedWrites
from .slow_readers import SlowReaderWatch

# Of the request line and all headers together; common servers allow 8 to 64 KiB.
MAX_HEADER_BYTES = 64 * 1024
# From the connection, or from the first byte after a reply, to the end of the next headers.
HEADER_TIMEOUT_S = 30.0
# Requests on a connection that wait for the replies to those before; common clients send none ahead.
MAX_PIPELINED = 16


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections whose headers are too long, with a 431, or too slow, or replies unread."""

    # Since the last byte of a body, or the end of headers: of headers, trailers, or what is around chunks.
    _num_bytes = 0
    _timer: asyncio.TimerHandle | None = None
    _reader_watch: SlowReaderWatch

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._reader_watch = SlowReaderWatch(transport, loop=self.loop)
        # What is closed stays, without a bound, until the client has taken all that waits.
        super().connection_made(JoinedWrites(transport, loop=self.loop, on_close=self._reader_watch.start))
        self._start_timer()

    def eof_received(self) -> None:
        # As the transport would do it next, but by way of the watch.
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)
        # Last, for uvicorn closes what is lost.
        self._reader_watch.stop()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader_watch.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        # What is closed stays watched until the client has taken the rest.
        if not self.transport.is_closing():
            self._reader_watch.stop()

    def data_received(self, data: bytes) -> None:
        self._num_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._num_bytes > MAX_HEADER_BYTES:
            self.send_400_response("")
        elif self._timer is None and self.cycle.response_complete:
            # Now comes the next request, or the rest of a body that nobody awaits any more.
            self._start_timer()

    def on_headers_complete(self) -> None:
        # The bytes so far may be of the body too, hence a closer look at those that are many.
        if self._num_bytes > MAX_HEADER_BYTES and self._header_bytes() > MAX_HEADER_BYTES:
            raise ValueError("too long: the parser ends here, and send_400_response is called")
        if len(self.pipeline) == MAX_PIPELINED:
            raise ValueError("too many: likewise")
        self._num_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._num_bytes = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, or one too many, or one whose headers are too long; then close."""
        error: InputError
        if self._num_bytes > MAX_HEADER_BYTES:
            error = HeaderTooLargeError(
                f"the headers have {self._num_bytes} bytes or more, the limit is {MAX_HEADER_BYTES}; "
                "send fewer, and what is long in the body"
            )
        elif len(self.pipeline) == MAX_PIPELINED:
            error = InputError(
                f"{MAX_PIPELINED} requests wait on this connection, which is the limit; "
                "send the next after a reply"
            )
        else:
            error = InputError("this is no request of HTTP/1.1; send one, by any HTTP client")
        reply = error_response(error, path="/", request_id=new_request_id())
        reply.headers["Connection"] = "close"
        lines = [name + b": " + value + b"\r\n" for name, value in reply.raw_headers]
        self.transport.write(b"".join([STATUS_LINE[reply.status_code], *lines, b"\r\n", reply.body]))
        self.transport.close()

    def _header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEADER_TIMEOUT_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
