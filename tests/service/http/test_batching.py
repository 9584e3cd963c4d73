"""Requests that share the model: batches, deadlines, clients that leave, and what they cost the others."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from kohonen_tokenizer.service.http import image_bodies
from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from .rigged_backend import RiggedBackend

NPY = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
PATIENCE = {"canary_interval_s": 3600, "canary_timeout_s": 3600}


class GatedBackend(RiggedBackend):
    """Works as the tiny model does, but a run waits while the gate is closed, and fails on a white image."""

    def __init__(self, tiny_model):
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batch_sizes = []
        self.decode = tiny_model.decode
        self._encode = tiny_model.encode

    def encode(self, pixels):
        self.batch_sizes.append(len(pixels))
        self.entered.set()
        assert self.gate.wait(timeout=30)
        if (pixels == 255).all(axis=(1, 2, 3)).any():
            raise RuntimeError("white")
        return self._encode(pixels)


@pytest.fixture
def backend(tiny_model) -> GatedBackend:
    return GatedBackend(tiny_model)


@pytest.fixture
def serve_gated(serve_in_thread, tiny_bundle, backend, wait_until):
    """Serve the gated backend, warm and with its gate closed behind one image: serve_gated(**settings)."""

    def serve(**settings):
        return serve_in_thread(Tokenizer(load_bundle(tiny_bundle), backend=backend), **PATIENCE, **settings)

    return serve


class Requests:
    """Requests in threads of their own, to a service whose model is held in a run."""

    def __init__(self, client, backend, wait_until, metric, npy_file) -> None:
        self._client, self._backend, self._metric, self._npy_file = client, backend, metric, npy_file
        self._wait_until = wait_until
        self._pool = ThreadPoolExecutor(16)

    def hold(self):
        """Close the gate behind one request."""
        self._wait_until(lambda: self._client.get("/readyz").status_code == 200)
        self._backend.gate.clear()
        self._backend.entered.clear()
        first = self.send(np.zeros((1, 8, 8, 3), np.uint8))
        assert self._backend.entered.wait(timeout=30)
        self._backend.batch_sizes.clear()
        return first

    def send(self, images, **headers):
        url = f"{self._client.base_url}/encode"
        return self._pool.submit(
            httpx.post, url, content=self._npy_file(images), headers=NPY | headers, timeout=30
        )

    @property
    def num_queued(self) -> float:
        return self._metric(self._client, 'kohonen_queue_images{model="tiny-colors"}')


@pytest.fixture
def requests_to(backend, wait_until, metric, npy_file):
    return lambda client: Requests(client, backend, wait_until, metric, npy_file)


def random_images(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, size=(count, 8, 8, 3), dtype=np.uint8)


def test_requests_that_wait_share_a_run_and_each_gets_its_own(
    serve_gated, requests_to, backend, tiny_model, wait_until, read_npy
):
    with serve_gated() as client:
        requests = requests_to(client)
        first = requests.hold()
        batches = [random_images(seed, seed) for seed in range(1, 6)]
        replies = [requests.send(batch) for batch in batches]
        wait_until(lambda: requests.num_queued == 15)
        backend.gate.set()
        for batch, reply in zip(batches, replies, strict=True):
            assert np.array_equal(read_npy(reply.result().content), tiny_model.encode(batch))
        assert first.result().status_code == 200
        assert backend.batch_sizes == [15]


def test_a_request_that_the_model_fails_on_leaves_the_others_of_its_batch_alone(
    serve_gated, requests_to, backend, tiny_model, wait_until, read_npy, caplog
):
    with serve_gated() as client:
        requests = requests_to(client)
        requests.hold()
        good = random_images(1, 3)
        white = np.full((1, 8, 8, 3), 255, dtype=np.uint8)
        replies = [requests.send(good), requests.send(white)]
        wait_until(lambda: requests.num_queued == 4)
        backend.gate.set()
        assert np.array_equal(read_npy(replies[0].result().content), tiny_model.encode(good))
        failed = replies[1].result()
        assert (failed.status_code, failed.json()["error"]["code"]) == (500, "inference_failed")
        assert client.get("/readyz").status_code == 200
    assert "white" in caplog.text


def test_a_request_whose_deadline_passes_gets_a_504_and_leaves_the_queue(
    serve_gated, requests_to, backend, wait_until
):
    with serve_gated() as client:
        requests = requests_to(client)
        first = requests.hold()
        late = requests.send(random_images(1, 7), **{"X-Timeout-S": "0.3"})
        wait_until(lambda: requests.num_queued == 7)
        reply = late.result()
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert requests.num_queued == 0
        backend.gate.set()
        assert first.result().status_code == 200
        assert backend.batch_sizes == []


def test_the_service_has_a_deadline_of_its_own(serve_gated, requests_to, backend):
    with serve_gated(timeout_s=0.3) as client:
        first = requests_to(client).hold()
        assert first.result().status_code == 504
        backend.gate.set()


@pytest.mark.parametrize("timeout", ["0", "-1", "31", "nan", "inf", "soon", ""])
def test_a_timeout_that_is_no_time_is_refused(client, npy_file, timeout):
    content = npy_file(random_images(1, 1))
    reply = client.post("/encode", content=content, headers=NPY | {"X-Timeout-S": timeout})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_parameter")
    assert "X-Timeout-S" in reply.json()["error"]["message"]


def test_a_client_that_leaves_takes_its_work_out_of_the_queue(
    serve_gated, requests_to, backend, wait_until, metric, npy_file
):
    with serve_gated() as client:
        requests = requests_to(client)
        first = requests.hold()
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{client.base_url}/encode", content=npy_file(random_images(1, 9)), headers=NPY, timeout=0.5
            )
        wait_until(lambda: requests.num_queued == 0)
        left = 'kohonen_requests_total{method="POST",route="/encode",status="499"}'
        wait_until(lambda: metric(client, left) == 1)
        backend.gate.set()
        assert first.result().status_code == 200
        assert backend.batch_sizes == []


def test_a_full_queue_refuses_whole_requests_with_a_time_to_come_back(
    serve_gated, requests_to, backend, wait_until
):
    with serve_gated(max_queue_images=8, max_images=8) as client:
        requests = requests_to(client)
        requests.hold()
        queued = requests.send(random_images(1, 6))
        wait_until(lambda: requests.num_queued == 6)
        refused = requests.send(random_images(2, 3)).result()
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        accepted = requests.send(random_images(3, 2))
        wait_until(lambda: requests.num_queued == 8)
        backend.gate.set()
        assert queued.result().status_code == accepted.result().status_code == 200


def test_bodies_beyond_the_memory_for_them_are_refused(
    serve_gated, requests_to, backend, npy_file, wait_until
):
    content = npy_file(random_images(1, 8))
    with serve_gated(max_body_bytes=2 * len(content), max_pending_bytes=2 * len(content)) as client:
        requests = requests_to(client)
        requests.hold()
        held = requests.send(random_images(2, 8))
        wait_until(lambda: requests.num_queued == 8)
        reply = client.post("/encode", content=content, headers=NPY)
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "queue_full")
        assert "bytes are in work" in reply.json()["error"]["message"]
        backend.gate.set()
        assert held.result().status_code == 200
        assert client.post("/encode", content=content, headers=NPY).status_code == 200


def test_the_service_is_not_ready_once_the_model_runs_no_more(
    serve_in_thread, tiny_bundle, backend, wait_until
):
    tokenizer = Tokenizer(load_bundle(tiny_bundle), backend=backend)
    with serve_in_thread(tokenizer, canary_interval_s=0.1, canary_timeout_s=0.5) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        backend.gate.clear()
        wait_until(lambda: client.get("/readyz").status_code == 503)
        reply = client.get("/readyz").json()["error"]
        assert reply["code"] == "not_ready"
        assert "last managed to" in reply["message"]
        assert client.get("/healthz").status_code == 200
        backend.gate.set()
        wait_until(lambda: client.get("/readyz").status_code == 200)


def test_images_that_take_long_to_read_keep_the_model_from_nobody(
    serve_in_thread, tokenizer, monkeypatch, image_file, wait_until
):
    reading, gate = threading.Semaphore(0), threading.Event()

    def read_slowly(file: bytes, *, max_pixels: int) -> np.ndarray:
        if file.startswith(b"\x89PNG"):
            reading.release()
            gate.wait(10)
        return np.zeros((8, 8, 3), dtype=np.uint8)

    monkeypatch.setattr(image_bodies, "decode_image", read_slowly)
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    with serve_in_thread(tokenizer, num_body_threads=1, num_parallel_runs=1) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)

        def encode(kind: str) -> httpx.Response:
            headers = {"Content-Type": f"image/{kind}"}
            return client.post("/encode", content=image_file(image, kind.upper()), headers=headers)

        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(encode, "png")
            assert reading.acquire(timeout=10)
            small = encode("jpeg")
            assert not slow.done()
            gate.set()
            assert (small.status_code, slow.result().status_code) == (200, 200)
