"""As much memory is asked for as the limits allow, in a control group, as a container is one.

40 clients without pause: 32 send arrays of 30 MiB, a little under `max_body_bytes`, and 8 a PNG of 64 KiB
that unfolds to `max_image_pixels`.
"""

import http.client
import io
import threading
import time
from collections import Counter
from collections.abc import Iterator, Set
from contextlib import contextmanager

import numpy as np
from PIL import Image

from kohonen_tokenizer.service.npy import write_npy

from ..client import HOST
from .load import NO_ANSWER, bodies, load
from .memory_limit import memory_limit
from .outcome import Outcome
from .server import SERVE, FaultyServer, serving, wait_until

# What docker-compose.yml gives a replica.
_ENOUGH_MIB = 3072
_TOO_LITTLE_MIB = 1024
_SMALL_MIB = 512
_FOR_SMALL = (
    *("--max-pending-bytes", str(64 * 2**20)),
    *("--max-image-pixels", str(2**20)),
    *("--max-request-pixels", str(16 * 2**20)),
)
_LASTS_S = 15.0
_NUM_ARRAYS, _NUM_PNGS = 32, 8


def measure() -> Outcome:
    """The container's limit and the default settings: nothing is killed, and what does not fit gets a 429."""
    return _measure(
        mib=_ENOUGH_MIB,
        fault=f"one process in a control group of {_ENOUGH_MIB} MiB, the compose file's limit, with default "
        f"settings; {_NUM_ARRAYS} clients send arrays of 30 MiB and {_NUM_PNGS} PNGs of 4096 x 4096 pixels, "
        f"{_LASTS_S:g} s",
        allowed={200, 429},
    )


def measure_small() -> Outcome:
    """A smaller limit, and settings for it: images that are too large get a 413."""
    return _measure(
        *_FOR_SMALL,
        mib=_SMALL_MIB,
        fault=f"one process in {_SMALL_MIB} MiB, with {' '.join(_FOR_SMALL)}; the same clients",
        allowed={200, 413, 429},
    )


def _measure(*options: str, mib: int, fault: str, allowed: Set[int]) -> Outcome:
    images = bodies()
    with (
        memory_limit(mib) as group,
        serving(*options, command=group.command(SERVE)) as server,
        load(server, images) as record,
    ):
        with _large_requests(server) as large:
            time.sleep(_LASTS_S)
        back_s = wait_until(lambda: server.is_ready)
        peak_mib, num_killed = group.peak_mib, group.num_killed
    return Outcome(
        fault=fault,
        figures={
            "at the most": f"{peak_mib:.0f} MiB",
            "processes killed": num_killed,
            "large requests": _in_words(large),
            "small requests failed": record.num_failed,
            "small requests' p99": f"{record.p99_ms} ms",
        },
        promises={
            "no process is killed": num_killed == 0,
            f"large requests get one of {', '.join(map(str, sorted(allowed)))}, and nothing else": (
                set(large) <= allowed
            ),
            "no small request fails": record.num_failed == 0,
            "it is ready afterwards": back_s < 1.0,
        },
        requests=dict(record.statuses),
    )


def measure_exceeded() -> Outcome:
    """Much less than the settings need: the kernel kills workers, and they come back."""
    images = bodies()
    with (
        memory_limit(_TOO_LITTLE_MIB) as group,
        serving("--workers", "2", command=group.command(SERVE)) as server,
        load(server, images, retries=True) as record,
    ):
        with _large_requests(server) as large:
            time.sleep(_LASTS_S)
        back_s = wait_until(lambda: server.num_ready_workers == 2)
        calm = time.monotonic()
        time.sleep(_LASTS_S)
        num_killed = group.num_killed
    late = [at for at in record.failures_at if at > calm + 1.0]
    return Outcome(
        fault=f"two workers in a control group of {_TOO_LITTLE_MIB} MiB, much less than default "
        "settings need; the same clients",
        figures={
            "processes killed": num_killed,
            "large requests": _in_words(large),
            "small requests failed at the first try": record.num_failed,
            "after one retry, 0.1 s later": record.retried.total() - record.retried[200],
            "both workers ready": f"{back_s:.1f} s after the last large request",
        },
        promises={
            "the limit was exceeded": num_killed > 0,
            "it comes back by itself": back_s < 60.0,
            "no small request fails once it is back": not late,
        },
        requests=dict(record.statuses),
    )


@contextmanager
def _large_requests(server: FaultyServer) -> Iterator[Counter[int]]:
    """Have clients ask for much without pause; the count of their statuses is whole after."""
    array = write_npy(np.zeros((10, 1024, 1024, 3), dtype=np.uint8))
    file = io.BytesIO()
    Image.new("RGBA", (4096, 4096)).save(file, format="PNG")
    statuses: Counter[int] = Counter()
    stop, lock = threading.Event(), threading.Lock()

    def ask(body: bytes, media_type: str) -> None:
        while not stop.is_set():
            status = _encode(server, body, media_type=media_type)
            with lock:
                statuses[status] += 1
            if status != 200:
                stop.wait(0.05)

    clients = [
        threading.Thread(target=ask, args=what)
        for what, num in (
            ((array, "application/x-npy"), _NUM_ARRAYS),
            ((file.getvalue(), "image/png"), _NUM_PNGS),
        )
        for _ in range(num)
    ]
    for client in clients:
        client.start()
    try:
        yield statuses
    finally:
        stop.set()
        for client in clients:
            client.join()


def _encode(server: FaultyServer, body: bytes, *, media_type: str) -> int:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=60)
    try:
        connection.request("POST", "/encode", body=body, headers={"Content-Type": media_type})
        reply = connection.getresponse()
        reply.read()
        return reply.status
    except (OSError, http.client.HTTPException):
        return NO_ANSWER
    finally:
        connection.close()


def _in_words(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
