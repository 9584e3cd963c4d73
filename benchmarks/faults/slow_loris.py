"""Clients that send their headers a byte a second, and clients whose headers do not end."""

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Sequence

from ..client import HOST
from .load import bodies, load
from .outcome import Outcome
from .server import FaultyServer, serving

_NUM_SLOW = 500
_NUM_LONG = 100
_CALM_S = 5.0
_PATIENCE_S = 60.0
# The service gives headers 30 s.
_MOST_S = 33.0
_START = b"POST /encode HTTP/1.1\r\nHost: x\r\nX-Long: "
_LONG = _START + b"a" * 70_000


def measure() -> Outcome:
    """Attack while four clients go on, until the last slow client is cut off."""
    images = bodies()
    with serving() as server:
        with load(server, images) as before:
            time.sleep(_CALM_S)
        with load(server, images) as record:
            cut_off_s = _send_slowly(server)
        with load(server, images) as beside_long:
            answers = Counter(_send_long(server) for _ in range(_NUM_LONG))
    good = before.statuses + record.statuses + beside_long.statuses
    return Outcome(
        fault=f"{_NUM_SLOW} connections send headers a byte a second; then {_NUM_LONG} send 70,000 bytes",
        figures={
            "slow connections cut off": f"{len(cut_off_s)} of {_NUM_SLOW}",
            "the first and the last after": f"{min(cut_off_s):.1f} and {max(cut_off_s):.1f} s",
            "long headers refused with a 431": f"{answers[431]} of {_NUM_LONG}",
            "good clients' p99": f"{record.p99_ms} ms beside the slow ones, {before.p99_ms} ms before",
            "good clients' requests failed": good.total() - good[200],
        },
        promises={
            f"every slow connection is cut off within {_MOST_S:g} s": (
                len(cut_off_s) == _NUM_SLOW and max(cut_off_s) < _MOST_S
            ),
            "headers that are too long get a 431": answers == {431: _NUM_LONG},
            "no request of a good client fails": good.total() == good[200],
        },
        requests=dict(good),
    )


def _send_slowly(server: FaultyServer) -> Sequence[float]:
    """For each slow connection that was cut off, after how many seconds."""
    with contextlib.ExitStack() as stack:
        opened = {}
        for _ in range(_NUM_SLOW):
            client = stack.enter_context(socket.create_connection((HOST, server.port), timeout=10))
            client.setblocking(False)
            opened[client] = time.monotonic()
        started = time.monotonic()
        cut_off_s = []
        header = iter(_START + b"a" * 1000)
        while opened and time.monotonic() - started < _PATIENCE_S:
            byte = bytes([next(header)])
            for client in list(opened):
                if _is_cut_off(client, byte):
                    cut_off_s.append(time.monotonic() - opened.pop(client))
            time.sleep(1.0)
        return cut_off_s


def _is_cut_off(client: socket.socket, byte: bytes) -> bool:
    try:
        client.send(byte)
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _send_long(server: FaultyServer) -> int:
    """The status of the answer to headers that are too long, 0 without one."""
    with socket.create_connection((HOST, server.port), timeout=10) as client:
        try:
            client.sendall(_LONG)
            return int(client.recv(65536).split()[1])
        except (OSError, IndexError):
            return 0
