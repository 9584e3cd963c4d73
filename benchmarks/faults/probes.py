"""What an orchestrator asks all the time: whether the service is alive, or ready."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .server import FaultyServer

_INTERVAL_S = 0.2


@dataclass(kw_only=True)
class Probes:
    """How probes went."""

    num: int = 0
    num_failed: int = 0
    """Those that were not answered with 200."""


@contextmanager
def probing(server: FaultyServer, path: str) -> Iterator[Probes]:
    """Ask for `path` five times a second inside the block, each time on a new connection."""
    probes, stop = Probes(), threading.Event()

    def ask() -> None:
        while not stop.wait(_INTERVAL_S):
            probes.num_failed += server.get(path)[0] != 200
            probes.num += 1

    prober = threading.Thread(target=ask)
    prober.start()
    try:
        yield probes
    finally:
        stop.set()
        prober.join()
