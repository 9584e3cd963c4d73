"""Clients that ask and do not read: what they are sent waits in memory, and must not wait for ever."""

import asyncio

# In which a client takes at least MIN_SENT_BYTES of what waits for it, or all that is left.
SEND_TIMEOUT_S = 30.0
# As much as may wait without anybody being told to write no more.
MIN_SENT_BYTES = 64 * 1024


class SlowReaderWatch:
    """Aborts a connection whose client takes too little of what waits for it."""

    def __init__(self, transport: asyncio.WriteTransport, *, loop: asyncio.AbstractEventLoop) -> None:
        """Take the connection; `start` begins to watch it."""
        self._transport = transport
        self._loop = loop
        self._num_waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch from now on, for something waits."""
        if self._timer is None:
            self._look_again()

    def stop(self) -> None:
        """Watch no more, for the client has taken it, or is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again(self) -> None:
        self._num_waiting = self._transport.get_write_buffer_size()
        self._timer = self._loop.call_later(SEND_TIMEOUT_S, self._look) if self._num_waiting else None

    def _look(self) -> None:
        num_taken = self._num_waiting - self._transport.get_write_buffer_size()
        if num_taken < min(MIN_SENT_BYTES, self._num_waiting):
            self._timer = None
            self._transport.abort()
        else:
            self._look_again()
