"""The limits: bodies counted as they come, images, pixels, tokens, and requests in work."""

import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from starlette.datastructures import QueryParams

from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from .rigged_backend import RiggedBackend

PNG = {"Content-Type": "image/png"}
NPY = {"Content-Type": "application/x-npy"}
MAX_BODY_BYTES = 20_000


@pytest.fixture(scope="module")
def strict_client(start_server, tiny_bundle):
    """A client of a server with limits that a test can reach."""
    server = start_server(
        tiny_bundle,
        max_body_bytes=MAX_BODY_BYTES,
        max_images=3,
        max_image_pixels=5_000,
        max_request_pixels=6_000,
        max_neighbor_tokens=2,
        max_neighbors=15,
        body_timeout_s=1,
    )
    with httpx.Client(base_url=server.url) as client:
        yield client
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log


def error_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def connect(client: httpx.Client) -> socket.socket:
    """A bare connection to the server of `client`."""
    address = urlsplit(str(client.base_url))
    return socket.create_connection((address.hostname, address.port), timeout=30)


def request_head(*headers: str) -> bytes:
    """The head of a POST to /encode."""
    lines = ("POST /encode HTTP/1.1", "Host: test", "Content-Type: image/png", *headers)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def test_a_body_at_the_limit_is_read_and_one_byte_more_is_not(strict_client):
    at_limit = strict_client.post("/encode", content=b"x" * MAX_BODY_BYTES, headers=PNG)
    beyond = strict_client.post("/encode", content=b"x" * (MAX_BODY_BYTES + 1), headers=PNG)
    assert error_of(at_limit) == (415, "unsupported_image_format")
    assert error_of(beyond) == (413, "body_too_large")
    assert str(MAX_BODY_BYTES) in beyond.json()["error"]["message"]


def test_a_body_announced_as_too_long_is_refused_before_it_comes(strict_client):
    with connect(strict_client) as connection:
        connection.sendall(request_head(f"Content-Length: {10**15}", "Expect: 100-continue"))
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_of_unknown_length_is_refused_while_it_still_comes(strict_client):
    with connect(strict_client) as connection:
        connection.sendall(request_head("Transfer-Encoding: chunked"))
        chunk = b"x" * 8192
        for _ in range(MAX_BODY_BYTES // len(chunk) + 1):
            connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        # The last chunk was never sent: the reply cannot have waited for it.
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_long_chunked_upload_gets_its_413(strict_client):
    reply = strict_client.post("/encode", content=(b"x" * 50_000 for _ in range(40)), headers=PNG)
    assert error_of(reply) == (413, "body_too_large")
    assert strict_client.get("/healthz").status_code == 200


def test_as_many_images_as_the_limit_and_one_more(strict_client, image_file, npy_file):
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    for count, status in ((3, 200), (4, 413)):
        files = [("f", ("f.png", image_file(image)))] * count
        arrays = npy_file(np.stack([image] * count))
        replies = [
            strict_client.post("/encode", files=files),
            strict_client.post("/encode", content=arrays, headers=NPY),
            strict_client.post("/decode", json={"tokens": [[[0, 1], [2, 3]]] * count}),
        ]
        assert [reply.status_code for reply in replies] == [status] * 3
    assert [error_of(reply)[1] for reply in replies] == ["too_many_images"] * 3


def test_as_many_pixels_as_the_limit_and_more(strict_client, image_file, npy_file):
    for height, status in ((50, 200), (51, 413)):
        image = np.zeros((height, 100, 3), dtype=np.uint8)
        reply = strict_client.post("/encode", content=image_file(image), headers=PNG)
        array = strict_client.post("/encode", content=npy_file(image[np.newaxis]), headers=NPY)
        assert (reply.status_code, array.status_code) == (status, status)
    assert error_of(reply) == error_of(array) == (413, "too_many_pixels")


def test_as_many_tokens_as_the_limit_and_one_more(strict_client):
    assert strict_client.post("/neighbors", json={"tokens": [1, 2]}).status_code == 200
    beyond = strict_client.post("/neighbors", json={"tokens": [1, 2, 3]})
    assert error_of(beyond) == (422, "invalid_parameter")


def test_as_many_neighbors_as_the_limit_and_one_more(strict_client):
    # Tokens 5 and 6 have eight around them, token 2 at the edge has five.
    assert strict_client.post("/neighbors", json={"tokens": [5, 2]}).status_code == 200
    beyond = strict_client.post("/neighbors", json={"tokens": [5, 6]})
    assert error_of(beyond) == (422, "invalid_parameter")
    assert "16 neighbors" in beyond.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "start", "end", "max_bytes"),
    [
        # 3 grids of 2 x 2 tokens and 2 tokens, of 24 bytes each, and 4096 beside them.
        ("/decode", b'{"tokens": [[0, 1], [2, 3]]', b"}", 3 * 2 * 2 * 24 + 4096),
        ("/neighbors", b'{"token": 1', b"}", 2 * 24 + 4096),
    ],
)
def test_a_body_of_tokens_has_a_limit_of_its_own(strict_client, path, start, end, max_bytes):
    for num_bytes, status in ((max_bytes, 200), (max_bytes + 1, 413)):
        content = start + b" " * (num_bytes - len(start) - len(end)) + end
        reply = strict_client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert reply.status_code == status
    assert error_of(reply) == (413, "body_too_large")


def test_json_of_more_values_than_images_is_refused_unparsed(strict_client):
    assert error_of(strict_client.post("/encode", json={"image": [[]] * 7})) == (400, "malformed_body")
    beyond = strict_client.post("/encode", json={"image": [[]] * 8})
    assert error_of(beyond) == (413, "too_many_images")


def test_all_images_of_a_request_share_a_limit_of_pixels(strict_client, image_file, npy_file):
    for num_rows, status in ((10, 200), (11, 413)):
        heights = (50, num_rows)
        files = [("f", ("f.png", image_file(np.zeros((height, 100, 3), np.uint8)))) for height in heights]
        reply = strict_client.post("/encode", files=files)
        array = np.zeros((2, 20 + num_rows, 100, 3), dtype=np.uint8)
        arrays = strict_client.post("/encode", content=npy_file(array), headers=NPY)
        assert (reply.status_code, arrays.status_code) == (status, status)
    assert error_of(reply) == error_of(arrays) == (413, "too_many_pixels")
    assert "image 1 and those before it have more than 6000 pixels" in reply.json()["error"]["message"]


def test_a_body_that_drips_is_cut_off_and_gives_its_place_back(strict_client, metric):
    with connect(strict_client) as connection:
        connection.sendall(request_head("Content-Length: 100"))
        while not select.select([connection], [], [], 0.1)[0]:
            connection.sendall(b"x")
        reply = b"".join(iter(lambda: connection.recv(1000), b""))
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_timeout"' in reply
    assert metric(strict_client, "kohonen_pending_requests") == 0


def test_a_body_that_is_not_there_at_the_deadline_is_waited_for_no_longer(strict_client):
    with connect(strict_client) as connection:
        connection.sendall(request_head("X-Timeout-S: 0.2\r\nContent-Length: 100") + b"x")
        connection.settimeout(5)
        with HTTPResponse(connection) as reply:
            reply.begin()
            assert reply.status == 504
            assert b"1 bytes of the body came before the deadline" in reply.read()


class GatedBackend(RiggedBackend):
    """Encodes as the tiny model does, but each call waits until the gate is open."""

    def __init__(self, tiny_model):
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.decode = tiny_model.decode
        self._encode = tiny_model.encode

    def encode(self, pixels):
        self.entered.set()
        assert self.gate.wait(timeout=30)
        return self._encode(pixels)


def test_requests_beyond_the_limit_are_refused_at_once(
    serve_in_thread, tiny_bundle, tiny_model, image_file, wait_until
):
    backend = GatedBackend(tiny_model)
    content = image_file(np.zeros((8, 8, 3), dtype=np.uint8))
    with (
        serve_in_thread(
            Tokenizer(load_bundle(tiny_bundle), backend=backend), max_pending_requests=1
        ) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        # The warm-up waits at the gate too, and as long as it does, the service is alive but not ready.
        assert backend.entered.wait(timeout=30)
        assert error_of(client.get("/readyz")) == (503, "not_ready")
        assert error_of(client.get("/map.png")) == (503, "not_ready")
        assert error_of(client.get("/docs")) == (503, "not_ready")
        assert client.get("/healthz").status_code == 200
        backend.gate.set()
        wait_until(lambda: client.get("/readyz").status_code == 200)

        backend.gate.clear()
        backend.entered.clear()
        first = pool.submit(httpx.post, f"{client.base_url}/encode", content=content, headers=PNG)
        try:
            assert backend.entered.wait(timeout=30)
            second = client.post("/encode", content=content, headers=PNG)
            assert error_of(second) == (429, "queue_full")
            assert int(second.headers["retry-after"]) >= 1
            assert error_of(client.get("/neighbors", params={"token": 1})) == (429, "queue_full")
            # What tells an operator about the load is never refused for it.
            assert client.get("/healthz").status_code == 200
            assert client.get("/readyz").status_code == 200
            assert "kohonen_pending_requests 1.0" in client.get("/metrics").text
        finally:
            backend.gate.set()
        assert first.result(timeout=30).status_code == 200
        assert client.post("/encode", content=content, headers=PNG).status_code == 200


def test_a_slow_body_holds_a_place_and_a_client_that_leaves_gives_it_back(
    serve_in_thread, tokenizer, image_file, wait_until, metric
):
    content = image_file(np.zeros((8, 8, 3), dtype=np.uint8))
    with serve_in_thread(tokenizer, max_pending_requests=1) as client:
        with connect(client) as connection:
            connection.sendall(request_head(f"Content-Length: {len(content)}") + content[:10])
            wait_until(lambda: metric(client, "kohonen_pending_requests") == 1)
            assert error_of(client.post("/encode", content=content, headers=PNG)) == (429, "queue_full")
            connection.sendall(content[10:])
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        with connect(client) as connection:
            connection.sendall(request_head(f"Content-Length: {len(content)}") + content[:10])
            wait_until(lambda: metric(client, "kohonen_pending_requests") == 1)
        wait_until(lambda: metric(client, "kohonen_pending_requests") == 0)
        left = 'kohonen_requests_total{method="POST",route="/encode",status="499"}'
        wait_until(lambda: metric(client, left) == 1)
        assert client.post("/encode", content=content, headers=PNG).status_code == 200


def test_thousands_of_names_in_the_url_are_not_compared_each_with_each(
    serve_in_thread, tokenizer, image_file, monkeypatch
):
    scans = []
    getlist = QueryParams.getlist

    def counting_getlist(self: QueryParams, name: str) -> list[str]:
        scans.append(name)
        return getlist(self, name)

    # Each call of it looks at every name of the URL.
    monkeypatch.setattr(QueryParams, "getlist", counting_getlist)
    names = "&".join(f"{index:x}" for index in range(10_000))
    with serve_in_thread(tokenizer) as client:
        reply = client.post(
            f"/encode?{names}", content=image_file(np.zeros((8, 8, 3), np.uint8)), headers=PNG
        )
    assert error_of(reply) == (422, "invalid_parameter")
    assert len(scans) < 10
