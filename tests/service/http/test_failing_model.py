"""A model that fails, or hangs, under a request: whoever waits is told so, and the probes are at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from .rigged_backend import RiggedBackend

GRID = {"tokens": [[0, 1], [2, 3]]}
NPY = {"Content-Type": "application/x-npy"}


class FailingBackend(RiggedBackend):
    """The tiny model, whose encoder fails, or hangs, while it is told to."""

    def __init__(self, tiny_model):
        self.decode = tiny_model.decode
        self.fails = False
        self.runs = threading.Event()
        self.runs.set()
        self._encode = tiny_model.encode

    def encode(self, pixels):
        assert self.runs.wait(timeout=30)
        if self.fails:
            raise RuntimeError("the device is lost")
        return self._encode(pixels)


@pytest.fixture
def backend(tiny_model):
    return FailingBackend(tiny_model)


@pytest.fixture
def client(serve_in_thread, tiny_bundle, backend, wait_until):
    tokenizer = Tokenizer(load_bundle(tiny_bundle), backend=backend)
    with serve_in_thread(tokenizer, canary_interval_s=0.1, canary_timeout_s=1.0) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client
        backend.runs.set()


@pytest.fixture
def encode(client, npy_file):
    """Ask for the tokens of one image, on a connection of its own."""
    content = npy_file(np.ones((1, 8, 8, 3), dtype=np.uint8))
    return lambda: httpx.post(f"{client.base_url}/encode", content=content, headers=NPY, timeout=30)


def assert_unready(reply):
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_ready")
    assert "model tiny-colors last managed to encode" in reply.json()["error"]["message"]
    assert int(reply.headers["retry-after"]) >= 1


def test_a_model_that_fails_on_everything_makes_the_service_unready_at_once(
    client, backend, encode, wait_until
):
    backend.fails = True
    assert_unready(encode())
    assert client.get("/readyz").status_code == 503
    assert_unready(encode())
    # The other half works as before.
    assert client.post("/decode", json=GRID).status_code == 200
    backend.fails = False
    wait_until(lambda: client.get("/readyz").status_code == 200)
    assert encode().status_code == 200


def test_each_of_many_requests_that_fail_together_is_told(client, backend, encode):
    backend.fails = True
    with ThreadPoolExecutor(8) as clients:
        for reply in clients.map(lambda _: encode(), range(24)):
            assert_unready(reply)


def test_who_waits_for_a_model_that_hangs_is_told_before_the_deadline(client, backend, encode, wait_until):
    backend.runs.clear()
    with ThreadPoolExecutor(4) as clients:
        waiting = [clients.submit(encode) for _ in range(4)]
        for reply in waiting:
            assert_unready(reply.result())
    assert_unready(encode())
    backend.runs.set()
    wait_until(lambda: client.get("/readyz").status_code == 200)
    assert encode().status_code == 200


def test_a_half_that_works_is_tried_and_stays_alive_while_the_other_fails(client, backend, encode):
    backend.fails = True
    assert_unready(encode())
    # Longer than a half may be without a run, and no request runs it but its own canary.
    time.sleep(1.5)
    assert client.post("/decode", json=GRID).status_code == 200
    assert_unready(encode())
