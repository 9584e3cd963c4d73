"""The wall clock jumps, as it does when somebody sets it: forward by an hour, back by two, and forth again.

Only that of the server, and only as it reads it: a small library in C, preloaded into it, adds seconds to
what the system says. Needs a C compiler.
"""

import email.utils
import http.client
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from ..client import HOST
from .load import bodies, load
from .outcome import Outcome, UnmeasurableError
from .probes import probing
from .server import FaultyServer, serving

_SOURCE = Path(__file__).with_name("moved_clock.c")
_HOUR_S = 3600
# From the true time, one after the other.
_OFFSETS_S = (_HOUR_S, -_HOUR_S, 0)
_CALM_S = 5.0


def measure() -> Outcome:
    """Jump under load, and compare with the time before."""
    images = bodies()
    with tempfile.TemporaryDirectory() as folder:
        library, offset = Path(folder, "moved_clock.so"), Path(folder, "offset")
        _compile(_SOURCE, library)
        _write(offset, 0)
        moved = {"LD_PRELOAD": str(library), "MOVED_CLOCK": str(offset)}
        with serving(environment=moved) as server, probing(server, "/readyz") as readiness:
            with load(server, images) as before:
                time.sleep(_CALM_S)
            seen = []
            with load(server, images) as record:
                for seconds in _OFFSETS_S:
                    _write(offset, seconds)
                    time.sleep(_CALM_S)
                    seen.append(_date(server) - time.time())
    reached = all(abs(there - due) < 3.0 for there, due in zip(seen, _OFFSETS_S, strict=True))
    return Outcome(
        fault="the server's wall clock jumps forward by 1 h, back by 2 h and forward by 1 h under load, "
        f"every {_CALM_S:g} s",
        figures={
            "requests failed": record.num_failed,
            "p99": f"{record.p99_ms} ms, before the jumps {before.p99_ms} ms",
            "longest": f"{max(record.seconds) * 1e3:.0f} ms",
            "probes of readiness failed": f"{readiness.num_failed} of {readiness.num}",
            "the header Date went by": ", ".join(f"{there:+.0f} s" for there in seen),
        },
        promises={
            "the jumps reached the server": reached,
            "no request fails": record.num_failed == 0,
            "the service stays ready": readiness.num_failed == 0,
            "no request waits for longer than 2 s": max(record.seconds) < 2.0,
        },
        requests=dict(record.statuses),
    )


def _compile(source: Path, library: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise UnmeasurableError("there is no C compiler; install one that is called cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)


def _write(offset: Path, seconds: int) -> None:
    # In place: the server has the file mapped.
    with offset.open("r+b" if offset.exists() else "wb") as file:
        file.write(struct.pack("q", seconds))


def _date(server: FaultyServer) -> float:
    """The time that a reply bears, in seconds since 1970."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return email.utils.parsedate_to_datetime(connection.getresponse().headers["Date"]).timestamp()
    finally:
        connection.close()
