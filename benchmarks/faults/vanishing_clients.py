"""Clients that connect and vanish: before a byte, within headers, within the body, and before the reply."""

import itertools
import re
import socket
import struct
import time
from contextlib import ExitStack

import numpy as np

from kohonen_tokenizer.service.npy import write_npy

from ..client import HOST, post
from ..processes import usage
from .load import bodies, load
from .outcome import Outcome
from .server import FaultyServer, serving, wait_until

_NUM_WAVES = 20
_CLIENTS_OF_A_WAVE = 50
_CALM_S = 5.0
# Long enough for the server to have begun, and short for the model to have ended.
_STAY_S = 0.05
_PAUSE_S = 0.7
_IMAGES = np.zeros((64, 32, 32, 3), dtype=np.uint8)
# Closing sends a reset, as the end of a process with unread data does, and not the orderly end.
_RESET = struct.pack("ii", 1, 0)
_MOST_GROWTH_MIB = 16.0


def measure() -> Outcome:
    """Twenty waves of fifty clients each, beside four that go on."""
    images = bodies()
    with serving() as server:
        with load(server, images) as before_record:
            time.sleep(_CALM_S)
        _vanish(server, num_waves=2)  # what the first of a kind leaves behind is no leak
        time.sleep(_CALM_S)
        # Without the connections of good clients, which would count, too.
        before = usage(server.pid)
        num_left_before = _num_left(server)
        with load(server, images) as record:
            _vanish(server, num_waves=_NUM_WAVES)
        gone_s = wait_until(lambda: usage(server.pid).num_files <= before.num_files)
        time.sleep(_CALM_S)
        after = usage(server.pid)
        is_ready = server.is_ready
        num_left = _num_left(server) - num_left_before
    return Outcome(
        fault=f"{_NUM_WAVES * _CLIENTS_OF_A_WAVE:,} clients connect and vanish: a quarter each before "
        "a byte, within headers, within the body of 64 images, and before the reply",
        figures={
            "requests whose client left": num_left,
            "good clients' requests failed": record.num_failed,
            "good clients' p99": f"{record.p99_ms} ms, before {before_record.p99_ms} ms",
            "open files": f"{before.num_files} before, {after.num_files} after",
            "threads": f"{before.num_threads} before, {after.num_threads} after",
            "memory": f"{before.rss_mib:.0f} MiB before, {after.rss_mib:.0f} MiB after",
            "the last connection closed": f"{gone_s:.1f} s after the last client",
        },
        promises={
            "no request of a good client fails": record.num_failed == 0,
            "no file stays open": after.num_files <= before.num_files,
            "no thread stays": after.num_threads <= before.num_threads,
            f"memory grows by less than {_MOST_GROWTH_MIB:g} MiB": (
                after.rss_mib - before.rss_mib < _MOST_GROWTH_MIB
            ),
            "the service is ready": is_ready,
        },
        requests=dict(record.statuses),
    )


def _num_left(server: FaultyServer) -> int:
    """Requests whose headers came, and whose client left before its reply, so far."""
    counted = re.findall(
        rb'^kohonen_requests_total{.*status="499".*} (\S+)$', server.get("/metrics")[1], re.M
    )
    return sum(int(float(count)) for count in counted)


def _vanish(server: FaultyServer, *, num_waves: int) -> None:
    request = post("/encode", write_npy(_IMAGES), headers={"Content-Type": "application/x-npy"})
    kinds = (b"", request[:40], request[: len(request) // 2], request)
    for _ in range(num_waves):
        with ExitStack() as clients:
            # Each kind in turn, and of each every other client with a reset.
            ways = itertools.cycle(itertools.product((False, True), kinds))
            for resets, sent in itertools.islice(ways, _CLIENTS_OF_A_WAVE):
                client = clients.enter_context(socket.create_connection((HOST, server.port), timeout=30))
                client.sendall(sent)
                if resets:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            time.sleep(_STAY_S)
        time.sleep(_PAUSE_S)
