"""HTTP/1.1 on a connection: uvicorn's protocol, with bounds on what comes before a request's body.

uvicorn has none with httptools: a client without a key could send headers without end, each byte of which
costs more than the last, or hold a connection for ever by sending nothing, or by reading nothing.
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
# From the connection, or from the first byte of a later request, to the end of its headers.
HEADER_TIMEOUT_S = 30.0


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections whose headers are too long, with a 431, or too slow, or replies unread."""

    _num_bytes = 0
    _is_in_header = True
    _timer: asyncio.TimerHandle | None = None
    _reader_watch: SlowReaderWatch

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        joined = JoinedWrites(transport, loop=self.loop)
        self._reader_watch = SlowReaderWatch(joined, loop=self.loop)
        super().connection_made(joined)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._reader_watch.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader_watch.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        # What is closed stays watched until the client has taken the rest.
        if not self.transport.is_closing():
            self._reader_watch.stop()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._reader_watch.start()

    def data_received(self, data: bytes) -> None:
        if self._is_in_header:
            self._num_bytes += len(data)
        super().data_received(data)
        if self._is_in_header and self._num_bytes and not self.transport.is_closing():
            if self._num_bytes > MAX_HEADER_BYTES:
                self.send_400_response("")
            elif self._timer is None:
                self._start_timer()

    def on_headers_complete(self) -> None:
        # The bytes so far may be of the body too, hence a closer look at those that are many.
        if self._num_bytes > MAX_HEADER_BYTES and self._header_bytes() > MAX_HEADER_BYTES:
            raise ValueError("too long: the parser ends here, and send_400_response is called")
        self._num_bytes = 0
        self._is_in_header = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_header = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, or one whose headers are too long, and close the connection."""
        error: InputError
        if self._is_in_header and self._num_bytes > MAX_HEADER_BYTES:
            error = HeaderTooLargeError(
                f"the headers have {self._num_bytes} bytes or more, the limit is {MAX_HEADER_BYTES}; "
                "send fewer, and what is long in the body"
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
