"""Several workers behind one port: what becomes of requests, metrics and processes when one dies."""

import contextlib
import itertools
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from kohonen_tokenizer.service.http.settings import Settings
from kohonen_tokenizer.service.http.supervisor import visible_gpus

from .closed_loop import ClosedLoop
from .other_bundles import graph_that_numbers_from_12

NUM_CLIENTS = 8
ENCODED = 'kohonen_requests_total{method="POST",route="/encode",status="200"}'


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def start_crew(start_server, tiny_bundle, wait_until):
    """Start a server of two workers and wait until both are up."""

    def start(**settings):
        server = start_server(tiny_bundle, workers=2, device="cpu", **settings)
        wait_until(lambda: "all 2 workers are up" in server.log)
        return server

    return start


@pytest.fixture(scope="module")
def crew(start_crew):
    """A server of two workers that all tests may use, and none may harm."""
    server = start_crew()
    yield server
    assert server.stop() == 0


@pytest.fixture
def load_on(image_file):
    """Clients under way on a server."""

    def start(server) -> ClosedLoop:
        content = image_file(np.zeros((8, 8, 3), dtype=np.uint8))
        return ClosedLoop(
            server.url, content=content, headers={"Content-Type": "image/png"}, num_clients=NUM_CLIENTS
        )

    return start


def test_a_worker_that_is_killed_or_hangs_costs_its_own_requests_only(
    start_crew, load_on, metric, wait_until
):
    server = start_crew(worker_timeout_s=5)
    counts = []

    def both_work() -> bool:
        with httpx.Client(base_url=server.url) as client:
            counts.append(metric(client, ENCODED))
            return metric(client, 'kohonen_workers{ready="true"}') == 2

    wait_until(both_work)
    for number, logged in (
        (signal.SIGKILL, "is gone (killed by SIGKILL)"),
        (signal.SIGSTOP, "has shown no life for"),
    ):
        before = server.workers
        assert len(before) == 2
        with load_on(server) as clients:
            wait_until(lambda clients=clients: len(clients.replies) > 10 * NUM_CLIENTS)
            os.kill(min(before), number)
            wait_until(lambda logged=logged: logged in server.log)
            so_far = len(clients.replies)
            wait_until(lambda clients=clients, so_far=so_far: len(clients.replies) > so_far + 100)
        # Each client lost at most the request that it had there, by a closed connection, and went on.
        assert len(clients.broken) <= NUM_CLIENTS
        assert not any(isinstance(error, TimeoutError) for error in clients.broken), clients.broken
        assert {reply.status for reply in clients.replies} == {200}
        wait_until(lambda before=before: len(server.workers - before) == 1 and both_work())
        assert max(before) in server.workers
    # Nothing that the dead had counted is lost.
    assert counts == sorted(counts)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=30) == 0
    assert "Traceback" not in server.log


def num_sockets(pid: int) -> int:
    num = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            num += "socket:" in str(entry.readlink())
    return num


def num_open(port: int) -> int:
    """Connections at a port whose server has not closed its end."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established, close_wait = "01", "08"
    return sum(row[1].endswith(f":{port:04X}") and row[3] in (established, close_wait) for row in rows)


def num_sockets_when_idle(crew, wait_until) -> dict[int, int]:
    """The sockets of each worker, without a connection."""
    # Of those before: one that closes between two counts would hide one that opens.
    wait_until(lambda: num_open(urlsplit(crew.url).port) == 0)
    time.sleep(0.1)  # until the supervisor knows
    return {pid: num_sockets(pid) for pid in crew.workers}


def test_new_connections_go_where_others_have_just_closed(crew, wait_until):
    address = urlsplit(crew.url)
    before = num_sockets_when_idle(crew, wait_until)
    connections: dict[int, list[socket.socket]] = {pid: [] for pid in before}

    def taken() -> dict[int, int]:
        return {pid: num_sockets(pid) - num for pid, num in before.items()}

    def connect() -> None:
        known = taken()
        connection = socket.create_connection((address.hostname, address.port), timeout=30)
        wait_until(lambda: sum(taken().values()) == sum(known.values()) + 1)
        (taker,) = [pid for pid, num in taken().items() if num > known[pid]]
        connections[taker].append(connection)

    for _ in range(8):
        connect()
    assert list(taken().values()) == [4, 4]
    emptied = min(before)
    for connection in connections[emptied]:
        connection.close()
    wait_until(lambda: taken()[emptied] == 0)
    # Much less than the interval of the signs of life.
    time.sleep(0.1)
    for _ in range(4):
        connect()
    assert list(taken().values()) == [4, 4]
    for connection in itertools.chain.from_iterable(connections.values()):
        connection.close()


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed its end; it must not have sent anything."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_connection_that_is_lost_for_want_of_open_files_does_not_count(crew, wait_until):
    address = urlsplit(crew.url)
    before = num_sockets_when_idle(crew, wait_until)
    full, other = before
    limits = resource.prlimit(full, resource.RLIMIT_NOFILE)
    connections = []

    def taken() -> dict[int, int]:
        return {pid: num_sockets(pid) - num for pid, num in before.items()}

    def num_lost() -> int:
        return sum(is_closed(connection) for connection in connections)

    def connect() -> None:
        connections.append(socket.create_connection((address.hostname, address.port), timeout=30))

    resource.prlimit(full, resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        for number in range(1, 9):
            connect()
            wait_until(lambda number=number: num_lost() + taken()[other] == number)
        assert num_lost() >= 4
        wait_until(lambda: "raise the limit on open files" in crew.log)
    finally:
        resource.prlimit(full, resource.RLIMIT_NOFILE, limits)
        while connections:
            connections.pop().close()
    wait_until(lambda: taken()[other] == 0)
    time.sleep(0.1)  # until the supervisor knows
    for _ in range(8):
        connect()
    wait_until(lambda: sum(taken().values()) == 8)
    assert list(taken().values()) == [4, 4]
    for connection in connections:
        connection.close()


def test_metrics_are_the_sums_over_workers(crew, load_on, metric, wait_until):
    with load_on(crew) as clients:
        wait_until(lambda: len(clients.replies) > 300)
    with httpx.Client(base_url=crew.url) as client:
        samples = client.get("/metrics").text
        # Counted just after its reply is out.
        wait_until(lambda: metric(client, ENCODED) == len(clients.replies))
        assert metric(client, 'kohonen_images_total{operation="encode"}') == len(clients.replies)
        assert metric(client, 'kohonen_request_seconds_count{route="/encode"}') == len(clients.replies)
        wait_until(lambda: metric(client, "kohonen_pending_requests") == 0)
    for worker in (0, 1):
        assert f'process_resident_memory_bytes{{worker="{worker}"}}' in samples
        assert f'process_cpu_seconds_total{{worker="{worker}"}}' in samples
    (model,) = [line for line in samples.splitlines() if line.startswith("kohonen_model_info{")]
    assert 'model="tiny-colors"' in model
    assert model.endswith(" 1.0")


def test_the_supervisor_loads_no_runtime(crew):
    libraries = Path(f"/proc/{crew.process.pid}/maps").read_text()
    assert "onnxruntime" not in libraries
    assert all("onnxruntime" in Path(f"/proc/{pid}/maps").read_text() for pid in crew.workers)


def test_no_worker_outlives_its_supervisor(start_crew, wait_until, monkeypatch, tmp_path):
    # A supervisor that is killed leaves the files of its metrics behind.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = start_crew()
    workers = server.workers
    server.process.kill()
    wait_until(lambda: not any(is_alive(pid) for pid in workers))
    assert server.log.count("the supervisor is gone: this worker stops") == 2
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("make_encoder", "reason"),
    [
        (lambda encoder: b"no graph", "encoder.onnx"),
        (graph_that_numbers_from_12, "the model failed its warm-up; see the log"),
    ],
)
def test_a_worker_that_cannot_start_ends_the_server(tiny_files, make_bundle, make_encoder, reason):
    bundle = make_bundle(tiny_files | {"encoder.onnx": make_encoder(tiny_files["encoder.onnx"])})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "kohonen_tokenizer", "serve", "--workers", "2", "--device", "cpu"]
    done = subprocess.run(
        [*command, "--bundle", bundle, "--port", str(port)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: worker ")
    assert reason in line.partition("did not come up: ")[2]


@pytest.mark.parametrize(
    ("device", "visible", "gpus"),
    [("cuda", "3, GPU-5", ["3", "GPU-5"]), ("cuda", "", []), ("cpu", "3,5", [])],
)
def test_workers_take_the_gpus_that_are_visible(monkeypatch, device, visible, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus(Settings(bundle=Path("unused"), device=device)) == gpus
