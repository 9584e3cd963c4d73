"""Clients that ask without pause while something goes wrong, and the record of how each request went."""

import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from kohonen_tokenizer import Tokenizer

from ..client import HOST
from ..workloads import make_workloads
from .server import BUNDLE, FaultyServer

NUM_CLIENTS = 4
JPEG = {"Content-Type": "image/jpeg"}
_TIMEOUT_S = 60.0
# As clients wait: a process that is killed takes some milliseconds to be gone.
_RETRY_AFTER_S = 0.1
# Status of a request without an answer, and of one whose answer is not that of the same request before.
NO_ANSWER, WRONG_ANSWER = 0, -1


@dataclass(kw_only=True)
class Record:
    """How each request went, and when."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Of the first try of each."""
    retried: Counter[int] = field(default_factory=Counter)
    """Of the second try of those whose first was no 200."""
    seconds: list[float] = field(default_factory=list)
    failures_at: list[float] = field(default_factory=list)
    """When a first try failed, by `time.monotonic`."""

    @property
    def num_failed(self) -> int:
        """First tries that were no 200 with the right answer."""
        return self.statuses.total() - self.statuses[200]

    @property
    def p99_ms(self) -> float:
        """Of first tries."""
        return round(float(np.percentile(self.seconds, 99)) * 1e3, 1) if self.seconds else 0.0


def bodies() -> Sequence[bytes]:
    """JPEGs of 32x32 pixels."""
    return make_workloads(Tokenizer.load(BUNDLE))["A"].bodies[:16]


@contextmanager
def load(
    server: FaultyServer, images: Sequence[bytes], *, pause_s: float = 0.0, retries: bool = False
) -> Iterator[Record]:
    """Have clients encode `images` without end, each on a connection that is kept; the record is whole after.

    Args:
        server: who is asked.
        images: are asked for in turn; each must always get the answer that it got first.
        pause_s: of a client after each request.
        retries: whether a request that failed is sent again, once, a moment later, on a new connection.
    """
    record, stop, lock = Record(), threading.Event(), threading.Lock()
    answers: dict[int, bytes] = {}

    def be_a_client() -> None:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=_TIMEOUT_S)
        for number in itertools.cycle(range(len(images))):
            if stop.is_set():
                break
            started = time.monotonic()
            status, answer = _encode(connection, images[number])
            ended = time.monotonic()
            again = None
            if retries and status != 200:
                time.sleep(_RETRY_AFTER_S)
                again = _encode(connection, images[number])[0]
            with lock:
                if status == 200 and answers.setdefault(number, answer) != answer:
                    status = WRONG_ANSWER
                record.statuses[status] += 1
                record.seconds.append(ended - started)
                if status != 200:
                    record.failures_at.append(ended)
                if again is not None:
                    record.retried[again] += 1
            stop.wait(pause_s if status == 200 else max(pause_s, 0.01))
        connection.close()

    clients = [threading.Thread(target=be_a_client) for _ in range(NUM_CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield record
    finally:
        stop.set()
        for client in clients:
            client.join()


def _encode(connection: http.client.HTTPConnection, image: bytes) -> tuple[int, bytes]:
    try:
        connection.request("POST", "/encode", body=image, headers=JPEG)
        reply = connection.getresponse()
        return reply.status, reply.read()
    except (OSError, http.client.HTTPException):
        connection.close()  # and the next request opens it anew
        return NO_ANSWER, b""
