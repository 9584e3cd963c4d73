"""A load of constant rate, which does not wait for replies, as many independent clients do not.

Each latency counts from the moment at which its request was due: a server that stalls, or a generator that
is late, makes the figures worse and not better.
"""

import ctypes
import os
import resource
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import httptools
import numpy as np

from .client import HOST, NO_REPLY

# How long the last replies may take.
DRAIN_S = 10.0
# Below the 2,048 that may wait to be accepted: the kernel tries further ones again after seconds only.
MAX_CONNECTIONS = 2000

_CLOCK_MONOTONIC = 1
_READ_BYTES = 2**16
# Above 2,000 requests a second, several are due at once: to wake for each would cost more than to send it.
_LEAST_INTERVAL_S = 0.0005


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenLoopResult:
    """What one open loop measured."""

    rate: float
    """Requests a second that were due."""
    statuses: dict[int, int]
    """How many replies had each status; NO_REPLY is a connection that was closed, or no reply in time."""
    num_resent: int
    """Requests sent again over another connection, for theirs had been closed while it was idle."""
    num_unsent: int
    """Requests that were due and found every connection busy to the end."""
    answers_per_s: float
    """Replies 200."""
    num_wrong: int
    """Replies 200 with another body than the one expected."""
    p50_ms: float
    """Of the replies 200, from when a request was due to the end of its reply; so is the next."""
    p99_ms: float
    late_p99_ms: float
    """How late requests were sent, for lack of CPU or of free connections."""
    num_connections: int
    cpu_us_per_request: float
    """CPU time of the generator itself."""


def open_loop(
    requests: Sequence[bytes],
    *,
    expected: Sequence[bytes],
    port: int,
    rate: float,
    seconds: float,
    max_connections: int = MAX_CONNECTIONS,
) -> OpenLoopResult:
    """Send `requests` in turn to `port`, `rate` a second for `seconds`, from a process of its own.

    Args:
        requests: complete HTTP requests.
        expected: the body of the reply 200 to each of them.
        max_connections: a request that finds as many busy waits for one, which counts in its latency.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_run, requests, expected, port, rate, seconds, max_connections).result()


def _run(
    requests: Sequence[bytes],
    expected: Sequence[bytes],
    port: int,
    rate: float,
    seconds: float,
    max_connections: int,
) -> OpenLoopResult:
    # Each connection is an open file.
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    loop = _OpenLoop(requests, expected=expected, port=port, max_connections=max_connections)
    return loop.run(rate=rate, seconds=seconds)


class _OpenLoop:
    """One thread on epoll, without asyncio: what it costs is taken from the server on the same cores."""

    def __init__(
        self, requests: Sequence[bytes], *, expected: Sequence[bytes], port: int, max_connections: int
    ) -> None:
        self._requests = requests
        self._expected = expected
        self._port = port
        self._max_connections = max_connections
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []
        self._waiting: deque[tuple[int, float]] = deque()
        self._most_connections = 0
        self._statuses: Counter[int] = Counter()
        self._num_wrong = self._num_resent = 0
        self._latencies_ms: list[float] = []
        self._late_ms: list[float] = []

    def run(self, *, rate: float, seconds: float) -> OpenLoopResult:
        num_requests = max(1, round(rate * seconds))
        num_due = num_unsent = 0
        timer = _start_timer(max(1 / rate, _LEAST_INTERVAL_S))
        self._epoll.register(timer, select.EPOLLIN)
        cpu_before = _cpu_seconds()
        started = now = time.perf_counter()
        while now < started + seconds + DRAIN_S and (num_due < num_requests or self._num_busy):
            for file, _ in self._epoll.poll(1.0):
                if file == timer:
                    os.read(timer, 8)
                else:
                    self._continue(self._connections[file])
            now = time.perf_counter()
            while num_due < num_requests and (due := started + num_due / rate) <= now:
                self._waiting.append((num_due % len(self._requests), due))
                num_due += 1
            self._dispatch()
            if num_due == num_requests:
                num_unsent += len(self._waiting)
                self._waiting.clear()
        elapsed = now - started
        cpu_s = _cpu_seconds() - cpu_before
        os.close(timer)
        for connection in self._connections.values():
            connection.socket.close()
        if self._num_busy:
            self._statuses[NO_REPLY] += self._num_busy
        latencies = self._latencies_ms or [float("nan")]
        return OpenLoopResult(
            rate=rate,
            statuses=dict(sorted(self._statuses.items())),
            num_resent=self._num_resent,
            num_unsent=num_unsent,
            num_wrong=self._num_wrong,
            answers_per_s=self._statuses[200] / elapsed,
            p50_ms=float(np.percentile(latencies, 50)),
            p99_ms=float(np.percentile(latencies, 99)),
            late_p99_ms=float(np.percentile(self._late_ms, 99)),
            num_connections=self._most_connections,
            cpu_us_per_request=cpu_s / (num_requests - num_unsent) * 1e6,
        )

    @property
    def _num_busy(self) -> int:
        """Connections with a request under way."""
        return len(self._connections) - len(self._idle)

    def _dispatch(self) -> None:
        """Send what waits: over idle connections, and over a new one for each request that finds none."""
        while self._waiting and (self._idle or len(self._connections) < self._max_connections):
            connection = self._idle.pop() if self._idle else self._connect()
            index, due = self._waiting.popleft()
            self._late_ms.append((time.perf_counter() - due) * 1e3)
            connection.begin(index, due, request=self._requests[index])
            self._continue(connection)

    def _connect(self) -> "_Connection":
        connection = _Connection(self._port)
        file = connection.socket.fileno()
        self._connections[file] = connection
        self._most_connections = max(self._most_connections, len(self._connections))
        self._epoll.register(file, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        return connection

    def _continue(self, connection: "_Connection") -> None:
        """Send and receive as far as it goes, and count a request that is answered by that."""
        was_busy = connection.is_busy
        connection.move()
        if was_busy and not connection.is_busy:
            self._idle.append(connection)
            if connection.status == NO_REPLY and connection.is_reused:
                self._waiting.appendleft((connection.index, connection.due))
                self._num_resent += 1
            else:
                self._statuses[connection.status] += 1
            if connection.status == 200:
                self._latencies_ms.append((time.perf_counter() - connection.due) * 1e3)
                self._num_wrong += connection.body != self._expected[connection.index]
        if connection.is_closed:
            del self._connections[connection.socket.fileno()]
            connection.socket.close()
            self._idle.remove(connection)


class _Connection:
    """A connection that carries one request at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex((HOST, port))  # under way; epoll says when something can be sent
        self.is_busy = False
        self.is_closed = False
        self.is_reused = False
        self._parser = httptools.HttpResponseParser(self)
        self._unsent = memoryview(b"")

    def begin(self, index: int, due: float, *, request: bytes) -> None:
        """Take a request, which `move` sends; a connection that is lost answers with NO_REPLY."""
        self.index, self.due = index, due
        self.status, self.body = NO_REPLY, b""
        self.is_busy = True
        self._unsent = memoryview(request)

    def move(self) -> None:
        """Send and receive until the kernel has no more room and no more bytes."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = memoryview(b"")  # a reply may have come before that
        try:
            while received := self.socket.recv(_READ_BYTES):
                self._parser.feed_data(received)
        except BlockingIOError:
            return
        except OSError:
            pass
        self.is_busy, self.is_closed = False, True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.is_busy, self.is_reused = False, True
        # An early reply, a refusal, leaves a part of the body unsent: nothing else can follow it.
        self.is_closed = bool(self._unsent) or not self._parser.should_keep_alive()


def _start_timer(interval_s: float) -> int:
    """A file that can be read each `interval_s`: epoll's own timeout counts in milliseconds."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer: int = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK)
    seconds, nanoseconds = divmod(max(1, round(interval_s * 1e9)), 10**9)
    # struct itimerspec: the interval, then the first expiration.
    times = (ctypes.c_long * 4)(seconds, nanoseconds, seconds, nanoseconds)
    if timer < 0 or libc.timerfd_settime(timer, 0, times, None) != 0:
        raise OSError(ctypes.get_errno(), "timerfd")
    return timer


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
