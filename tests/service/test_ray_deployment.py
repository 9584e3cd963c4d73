"""The service under Ray: two replicas on this machine, in processes of their own.

Not in this one, for to import Ray makes warnings, and here they are errors.
"""

import io
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from kohonen_tokenizer.service.http.auth import make_key

pytestmark = pytest.mark.ray

_TIMEOUT_S = 120
_CLUSTER = Path(__file__).with_name("ray_cluster.py")
_SERVE = Path(sys.executable).with_name("serve")


def _environment(**settings: object) -> dict[str, str]:
    others = {key: value for key, value in os.environ.items() if not key.startswith(("KOHONEN_", "RAY_"))}
    ray = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Or it makes one and keeps it in the home directory.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    return others | ray | {f"KOHONEN_{name.upper()}": str(value) for name, value in settings.items()}


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _replicas_of(name: str) -> set[int]:
    """The processes of the replicas of the application `name`: Ray calls them so."""
    pids = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if file.read_bytes().startswith(f"ray::ServeReplica:{name}:".encode()):
                pids.add(int(file.parent.name))
        except OSError:
            continue  # it ended meanwhile
    return pids


@pytest.fixture(scope="module")
def name() -> str:
    """What the application is called: unlike any other on this machine."""
    return f"tiny-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def client(name: str, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client, with a key, of two replicas of the tiny model."""
    key, entry = make_key("tester", scopes=("use", "admin"))
    environment = _environment(bundle=tiny_bundle, api_keys=json.dumps([entry.model_dump()]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    log_file = tmp_path_factory.mktemp("ray") / "log"
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, _CLUSTER, folder, str(port), name],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        try:
            _wait_until(lambda: process.poll() is not None or "two replicas are up" in log_file.read_text())
            assert process.poll() is None, log_file.read_text()
            headers = {"Authorization": f"Bearer {key}"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
                yield client
            process.communicate(timeout=_TIMEOUT_S)
            assert process.returncode == 0, log_file.read_text()
            assert "graceful shutdown" not in log_file.read_text(), log_file.read_text()
        finally:
            # Its children end with it.
            process.kill()
            process.wait()
    _wait_until(lambda: not _replicas_of(name))


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _encode(client: httpx.Client, images: np.ndarray) -> httpx.Response:
    return client.post("/encode", content=_npy(images), headers={"Content-Type": "application/x-npy"})


def _encode_at_last(client: httpx.Client, images: np.ndarray) -> httpx.Response:
    """The first reply that is no failure of the server."""
    deadline = time.monotonic() + _TIMEOUT_S
    while (reply := _encode(client, images)).is_server_error:
        assert time.monotonic() < deadline, reply.text
        time.sleep(0.05)
    return reply


def _num_encoded(client: httpx.Client) -> int:
    """Requests to encode that the replica which happens to answer has answered."""
    sample = r'^kohonen_requests_total\{method="POST",route="/encode",status="200"\} (\S+)$'
    found = re.search(sample, client.get("/metrics").text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def test_both_replicas_answer_as_the_model_does(
    client: httpx.Client, tiny_model: Any, random_images: np.ndarray
) -> None:
    images = random_images[:3]
    tokens = tiny_model.encode(images)
    num_sent = 0
    deadline = time.monotonic() + _TIMEOUT_S

    # Until one of them did some of it, so that the other did the rest.
    while num_sent < 10 or not 0 < _num_encoded(client) < num_sent:
        assert time.monotonic() < deadline
        assert _encode(client, images).json()["tokens"] == tokens.tolist()
        num_sent += 1
        reply = client.post(
            "/decode", json={"tokens": tokens.tolist()}, headers={"Accept": "application/x-npy"}
        )
        np.testing.assert_array_equal(np.load(io.BytesIO(reply.content)), tiny_model.decode(tokens))


def test_errors_are_ours(client: httpx.Client) -> None:
    reply = client.post("/encode", content=b"nonsense", headers={"Content-Type": "image/png"})
    assert reply.status_code == 415
    error = reply.json()["error"]
    assert error["code"] == "unsupported_image_format"
    assert reply.headers.get_list("X-Request-Id") == [error["request_id"]]

    assert client.get("/nothing").json()["error"]["code"] == "not_found"
    assert client.post("/encode", headers={"Authorization": ""}).json()["error"]["code"] == "unauthorized"


def test_no_replica_loads_a_version_for_itself(client: httpx.Client) -> None:
    reply = client.post("/models/tiny-colors/load")

    assert reply.status_code == 422
    assert reply.json()["error"]["message"] == (
        "tiny-colors is served by replicas under Ray; deploy the application again instead"
    )


def test_a_killed_replica_costs_a_retry_and_is_replaced(
    client: httpx.Client, name: str, tiny_model: Any, random_images: np.ndarray
) -> None:
    images = random_images[:2]
    tokens = tiny_model.encode(images).tolist()
    killed: set[int] = set()
    first_two = _replicas_of(name)
    assert len(first_two) == 2

    # The one, and then the other: what answers in the end was there before neither.
    for pid in first_two:
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
        for _ in range(10):
            assert _encode_at_last(client, images).json()["tokens"] == tokens
        _wait_until(lambda: len(_replicas_of(name) - killed) == 2)
    assert _encode_at_last(client, images).json()["tokens"] == tokens


def test_several_workers_are_refused_before_ray_starts(tiny_bundle: Path) -> None:
    done = subprocess.run(
        [_SERVE, "run", "kohonen_tokenizer.service.ray_deployment:app", "workers=2"],
        env=_environment(bundle=tiny_bundle),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.endswith(
        "SettingsError: workers is 2, and under Ray the limit is 1; set min_replicas and max_replicas\n"
    )
