"""What the model runs on fails under requests, or hangs: a simulated backend in the real server."""

import os
import signal
import sys
import time

from .load import bodies, load
from .outcome import Outcome
from .probes import probing
from .server import serving, wait_until

_COMMAND = (sys.executable, "-m", "benchmarks.faults.failing_server")
_LASTS_S = 15.0


def measure_failure() -> Outcome:
    """Every run of the encoder raises, for a while."""
    return _measure(signal.SIGUSR1, fault="every model run raises, for 15 s", most_unready_s=1.0)


def measure_hang() -> Outcome:
    """No run of the encoder ends, for a while."""
    # A canary is due after 2 s, looked for each second, and has 10 s; one more for a busy machine.
    return _measure(signal.SIGUSR2, fault="no model run ends, for 15 s", most_unready_s=14.0)


def _measure(number: signal.Signals, *, fault: str, most_unready_s: float) -> Outcome:
    images = bodies()
    with (
        serving(command=_COMMAND) as server,
        probing(server, "/healthz") as liveness,
        load(server, images, pause_s=0.01) as record,
    ):
        time.sleep(2.0)
        os.kill(server.pid, number)
        begun = time.monotonic()
        unready_s = wait_until(lambda: server.get("/readyz")[0] == 503)
        time.sleep(max(0.0, _LASTS_S - unready_s))
        os.kill(server.pid, signal.SIGWINCH)
        recovered = time.monotonic()
        ready_s = wait_until(lambda: server.is_ready)
        time.sleep(2.0)
    late = [at for at in record.failures_at if at > recovered + ready_s + 0.5]
    return Outcome(
        fault=fault,
        figures={
            "unready after": f"{unready_s:.2f} s",
            "ready again": f"{ready_s:.2f} s after the end",
            "longest wait of a request": f"{max(record.seconds):.1f} s",
            "first 503 after": f"{min(record.failures_at) - begun:.2f} s",
        },
        promises={
            f"readiness is false within {most_unready_s:g} s": unready_s < most_unready_s,
            "requests get their tokens or a 503, and nothing else": set(record.statuses) <= {200, 503},
            "no request waits for longer than that": max(record.seconds) < most_unready_s,
            "liveness stays true": liveness.num_failed == 0,
            "no request fails once it is ready again": not late,
        },
        requests=dict(record.statuses),
    )
