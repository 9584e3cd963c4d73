"""The event loop waits and never works: no request may hold it up for long."""

import asyncio
import base64
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from kohonen_tokenizer.service.http.loop_lag import watch_event_loop
from kohonen_tokenizer.service.http.service import Service

LOAD_S = 1.5
# What the loop may be late, in seconds; the machine itself may be late too, so one calm try is enough.
MAX_LAG_S = 0.05
NUM_TRIES = 4


def num_late(client: httpx.Client, metric: Callable[[httpx.Client, str], float]) -> float:
    """How often the loop was late by more than the limit so far."""
    name = "kohonen_event_loop_lag_seconds"
    total = metric(client, f"{name}_count")
    assert total > 0
    return total - metric(client, f'{name}_bucket{{le="{MAX_LAG_S}"}}')


def load(url: str, requests: list[dict[str, object]]) -> None:
    """Send `requests` over and over, each kind from a client of its own, for a while."""
    end = time.monotonic() + LOAD_S

    def send(request: dict[str, object]) -> int:
        count = 0
        with httpx.Client(base_url=url, timeout=60) as client:
            while time.monotonic() < end:
                reply = client.request("POST", **request)
                assert reply.status_code in (200, 429), reply.text
                count += 1
        return count

    with ThreadPoolExecutor(len(requests)) as pool:
        assert all(count > 0 for count in pool.map(send, requests))


def is_ever_calm(client: httpx.Client, metric: Callable[..., float], put_on: Callable[[], None]) -> bool:
    """Whether the loop is never late in one of some tries under a load."""
    for _ in range(NUM_TRIES):
        before = num_late(client, metric)
        put_on()
        if num_late(client, metric) == before:
            return True
    return False


def test_nothing_that_a_client_sends_holds_up_the_loop(
    start_server, tiny_bundle, photographs, image_file, npy_file, metric
):
    server = start_server(tiny_bundle)
    random = np.random.default_rng(0)
    large = random.integers(0, 256, size=(1200, 1600, 3), dtype=np.uint8)
    batch = random.integers(0, 256, size=(256, 8, 8, 3), dtype=np.uint8)
    image = base64.b64encode(image_file(photographs[0], "JPEG")).decode()
    grids = random.integers(0, 12, size=(256, 2, 2))
    jpeg, png, npy = ({"Content-Type": kind} for kind in ("image/jpeg", "image/png", "application/x-npy"))
    requests = [
        {"url": "/encode", "content": image_file(large, "JPEG"), "headers": jpeg},
        {"url": "/encode", "content": image_file(large[:400], "PNG"), "headers": png},
        {"url": "/encode", "content": npy_file(batch), "headers": npy},
        {"url": "/encode", "json": {"images": [image] * 64}},
        {"url": "/decode", "content": npy_file(grids), "headers": npy},
        {"url": "/decode", "json": {"tokens": grids.tolist()}},
    ]
    with httpx.Client(base_url=server.url) as client:
        assert is_ever_calm(client, metric, lambda: load(server.url, requests))


def test_work_on_the_loop_is_noticed(serve_in_thread, tokenizer, wait_until, metric, monkeypatch):
    with serve_in_thread(tokenizer) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        # Any call that the loop makes for a request will do.
        deadline = Service.deadline

        def slow_deadline(self, request):
            time.sleep(2 * MAX_LAG_S)
            return deadline(self, request)

        monkeypatch.setattr(Service, "deadline", slow_deadline)
        body = {"tokens": [[0, 1], [2, 3]]}
        assert not is_ever_calm(client, metric, lambda: client.post("/decode", json=body))


def test_the_watch_tells_how_late_the_loop_was():
    lags = []

    async def block() -> None:
        watch = asyncio.create_task(watch_event_loop(lags.append))
        await asyncio.sleep(0.1)
        time.sleep(0.2)
        await asyncio.sleep(0.1)
        watch.cancel()

    asyncio.run(block())
    assert max(lags) == pytest.approx(0.19, abs=0.05)
