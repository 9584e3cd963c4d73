"""Servers to test against: processes on real sockets, and one in a thread for what needs a rigged model."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image
from sklearn.datasets import load_sample_images

from kohonen_tokenizer.service.http.app import create_app
from kohonen_tokenizer.service.http.models import LoadedModel
from kohonen_tokenizer.service.http.service import Service
from kohonen_tokenizer.service.http.settings import Settings
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

_START_TIMEOUT_S = 60


@dataclass(frozen=True)
class ServerProcess:
    """A server of its own process."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_file.read_text()

    @property
    def workers(self) -> set[int]:
        """The processes that it has started, if it is a supervisor."""
        pid = self.process.pid
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    @property
    def num_sockets(self) -> int:
        """Sockets that it has open, of connections and of its own."""
        links = Path(f"/proc/{self.process.pid}/fd").iterdir()
        return sum(os.path.realpath(link).rpartition("/")[2].startswith("socket:") for link in links)

    def stop(self) -> int:
        """Send SIGTERM and give the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


def _free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_until(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds; fail if it does not within a time that no working server needs."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _is_ready(url: str) -> bool:
    """Whether /readyz answers 200."""
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServerProcess]]:
    """Start a server, wait until it is ready, and stop it at the end: start_server(bundle, max_images=3).

    Of several models: start_server(models=folder).
    """
    with ExitStack() as running:

        def start(
            bundle: Path | None = None,
            *,
            command: Sequence[str] = ("-m", "kohonen_tokenizer", "serve"),
            **settings: object,
        ) -> ServerProcess:
            port = _free_port()
            values = {"port": port, **settings} | ({} if bundle is None else {"bundle": bundle})
            environment = {key: value for key, value in os.environ.items() if not key.startswith("KOHONEN_")}
            environment |= {f"KOHONEN_{name.upper()}": str(value) for name, value in values.items()}
            log_file = tmp_path_factory.mktemp("server") / "log"
            with log_file.open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-W", "error", *command],
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
            running.callback(_kill, process)
            server = ServerProcess(f"http://127.0.0.1:{port}", process, log_file)
            _wait_until(lambda: _is_ready(server.url) or process.poll() is not None)
            assert process.poll() is None, server.log
            return server

        yield start


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server(start_server: Callable[..., ServerProcess], tiny_bundle: Path) -> Iterator[ServerProcess]:
    """The tiny model behind HTTP with the default limits, stopped by SIGTERM after the last test."""
    server = start_server(tiny_bundle)
    yield server
    assert server.stop() == 0, server.log
    # Whatever the tests sent, no bug answered it.
    assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="session")
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    """A client of `server`."""
    with httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture(scope="session")
def impatient_server(
    start_server: Callable[..., ServerProcess], tiny_bundle: Path
) -> Iterator[ServerProcess]:
    """As `server`, but it waits for a client for a second at most, and the system keeps little for one."""
    script = Path(__file__).with_name("impatient_server.py")
    server = start_server(tiny_bundle, command=[str(script)], body_timeout_s=1)
    yield server
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="session")
def tokenizer(tiny_bundle: Path) -> Tokenizer:
    """The tiny model in this process."""
    return Tokenizer.load(tiny_bundle, num_threads=1)


@pytest.fixture
def serve_in_thread() -> Callable[..., AbstractContextManager[httpx.Client]]:
    """Serve a tokenizer that cannot travel to another process: with serve_in_thread(tokenizer) as client."""

    @contextmanager
    def serve(tokenizer: Tokenizer, **settings: Any) -> Iterator[httpx.Client]:
        model = LoadedModel(name=tokenizer.manifest.name, version="1", tokenizer=tokenizer)
        app = create_app(Service(Settings(bundle=Path("unused"), **settings), models=[model]))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None, access_log=False))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                _wait_until(lambda: server.started)
                with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                    yield client
            finally:
                server.should_exit = True
                thread.join()

    return serve


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Return once a condition holds; fail if it does not within a time that no working server needs."""
    return _wait_until


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """Crops of the two photographs that scikit-learn carries: uint8 [H, W, 3], of several sizes."""
    china, flower = load_sample_images().images
    return [china[:96, :64], china[200:232, 300:364], flower[100:180, 200:280], flower[:40, :41]]


@pytest.fixture(scope="session")
def image_file() -> Callable[..., bytes]:
    """An image uint8 [H, W, 3] as a file, a WebP without loss: image_file(image, "JPEG")."""

    def write(image: np.ndarray, image_format: str = "PNG") -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format=image_format, lossless=True)
        return file.getvalue()

    return write


@pytest.fixture(scope="session")
def npy_file() -> Callable[[np.ndarray], bytes]:
    """An array as numpy.save writes it."""

    def write(array: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    return write


@pytest.fixture(scope="session")
def read_npy() -> Callable[[bytes], np.ndarray]:
    """The array in a .npy reply."""

    def read(content: bytes) -> np.ndarray:
        array = np.load(io.BytesIO(content), allow_pickle=False)
        assert isinstance(array, np.ndarray)
        return array

    return read


@pytest.fixture(scope="session")
def metric() -> Callable[[httpx.Client, str], float]:
    """The value of one sample of /metrics, 0 where never counted: metric(client, 'name{label="x"}')."""

    def read(client: httpx.Client, sample: str) -> float:
        found = re.search(rf"^{re.escape(sample)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    return read
