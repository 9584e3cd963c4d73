"""The server may open a few files more than it has open, and more clients connect than that."""

import resource
import socket
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from ..client import HOST
from ..processes import usage
from .load import bodies, load
from .outcome import Outcome
from .server import serving, wait_until

_NUM_SPARE = 20
_NUM_CLIENTS = 200
_CALM_S = 5.0
_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def measure() -> Outcome:
    """One process, which accepts for itself."""
    return _measure(fault="one process")


def measure_workers() -> Outcome:
    """Two workers, which get their connections from the supervisor."""
    return _measure("--workers", "2", fault="each of two workers and their supervisor")


def _measure(*options: str, fault: str) -> Outcome:
    images = bodies()
    with serving(*options) as server:
        wait_until(lambda: not server.workers or server.num_ready_workers == len(server.workers))
        processes = [server.pid, *server.workers]
        with load(server, images) as record:
            time.sleep(1.0)
            for pid in processes:
                _spare(pid, num=_NUM_SPARE)
            with ExitStack() as clients:
                crowd = [
                    clients.enter_context(socket.create_connection((HOST, server.port), timeout=5))
                    for _ in range(_NUM_CLIENTS)
                ]
                answers = Counter(_ask(client) for client in crowd)
            back_s = wait_until(lambda: server.is_ready)
            time.sleep(1.0)
        with ExitStack() as clients:
            for _ in range(_NUM_CLIENTS):
                clients.enter_context(socket.create_connection((HOST, server.port), timeout=5))
            time.sleep(1.0)
            before = usage(server.pid).cpu_s
            time.sleep(_CALM_S)
            cpu_share = (usage(server.pid).cpu_s - before) / _CALM_S
        wait_until(lambda: server.is_ready)
        still_there = [server.pid, *server.workers] == processes
    return Outcome(
        fault=f"{fault} may open {_NUM_SPARE} files more, and {_NUM_CLIENTS} clients connect",
        figures={
            "of the crowd answered": f"{answers[200]} of {_NUM_CLIENTS}",
            "closed at once": answers[0],
            "requests on older connections failed": record.num_failed,
            "a new client served": f"{back_s:.2f} s after the crowd left",
            "CPU at the limit without requests": f"{cpu_share:.1%} of a core",
        },
        promises={
            "who has a connection is answered": record.num_failed == 0,
            "who finds no place is told at once, by the close of the connection": (
                answers[200] + answers[0] == _NUM_CLIENTS and answers[0] > 0
            ),
            "it serves again when the crowd has left": back_s < 1.0,
            "no process ends": still_there,
            "no process spins": cpu_share < 0.2,
        },
        requests=dict(record.statuses),
    )


def _spare(pid: int, *, num: int) -> None:
    """Let process `pid` open `num` files more than now."""
    most = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most + 1 + num, most + 1 + num))


def _ask(client: socket.socket) -> int:
    """The status of the answer to a request, or 0 on a connection that was closed."""
    try:
        client.sendall(_REQUEST)
        answer = client.recv(4096)
    except ConnectionError:
        return 0
    return int(answer.split()[1]) if answer else 0
