"""Clients that ask without pause, and the record of how each request went."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

NUM_CLIENTS = 6


@dataclass
class Record:
    """Of all requests, how the first try of each went, and the second of those whose first failed."""

    first: Counter[str] = field(default_factory=Counter)
    second: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list, repr=False)

    @property
    def num_lost(self) -> int:
        """Requests that failed at the first try."""
        return self.first.total() - self.first["200"]

    @property
    def num_lost_after_retry(self) -> int:
        """Requests that failed at the second try, too."""
        return self.second.total() - self.second["200"]

    def __str__(self) -> str:
        ordered = sorted(self.seconds)
        at = {p: ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] for p in (50, 99)}
        return (
            f"{self.first.total()} requests, first try {dict(self.first)}, second {dict(self.second)}; "
            f"median {at[50] * 1e3:.0f} ms, p99 {at[99] * 1e3:.0f} ms, longest {ordered[-1] * 1e3:.0f} ms"
        )


@contextmanager
def load(url: str, *, body: bytes) -> Iterator[Record]:
    """Have clients encode `body`, an image, without pause; the record is whole when this ends."""
    record, stop, lock = Record(), threading.Event(), threading.Lock()

    def ask(client: httpx.Client) -> str:
        try:
            headers = {"Content-Type": "image/jpeg"}
            return str(client.post("/encode", content=body, headers=headers).status_code)
        except httpx.TransportError as error:
            return type(error).__name__

    def serve_as_client() -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not stop.is_set():
                started = time.monotonic()
                first = ask(client)
                second = None if first == "200" else ask(client)
                with lock:
                    record.seconds.append(time.monotonic() - started)
                    record.first[first] += 1
                    if second is not None:
                        record.second[second] += 1

    clients = [threading.Thread(target=serve_as_client) for _ in range(NUM_CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield record
    finally:
        stop.set()
        for client in clients:
            client.join()
