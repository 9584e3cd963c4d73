"""One of two workers is killed under load."""

import os
import signal
import time

from .load import bodies, load
from .outcome import Outcome
from .server import serving, wait_until

_SETTLE_S = 4.0


def measure() -> Outcome:
    """Kill -9, and wait until both workers are there again."""
    images = bodies()
    with serving("--workers", "2") as server:
        wait_until(lambda: server.num_ready_workers == 2)
        with load(server, images, retries=True) as record:
            time.sleep(_SETTLE_S)
            victim = server.workers[0]
            os.kill(victim, signal.SIGKILL)
            killed = time.monotonic()
            wait_until(lambda: victim not in server.workers and len(server.workers) == 2)
            wait_until(lambda: server.num_ready_workers == 2)
            to_ready_s = time.monotonic() - killed
            time.sleep(_SETTLE_S)
        longest_s = max((at - killed for at in record.failures_at), default=0.0)
    return Outcome(
        fault="one of two workers killed (-9) under load",
        figures={
            "both workers ready again after": f"{to_ready_s:.1f} s",
            "requests failed at the first try": record.num_failed,
            "after one retry, 0.1 s later": record.retried.total() - record.retried[200],
            "the last failure after": f"{longest_s * 1e3:.0f} ms",
        },
        promises={
            "it comes back by itself": True,
            "only requests that the worker had are lost, one a connection at most": record.num_failed <= 4,
            "none after one retry, 0.1 s later": record.retried.total() == record.retried[200],
        },
        requests=dict(record.statuses),
    )
