"""A bundle behind HTTP, for as long as it is needed."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

_START_TIMEOUT_S = 60


@contextmanager
def serve(bundle: Path) -> Iterator[str]:
    """The URL of a service of `bundle` on a free port, in a process of its own.

    Raises:
        RuntimeError: it did not start; it has said why on stderr.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "kohonen_tokenizer", "serve", "--bundle", str(bundle)]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service of {bundle} did not start within {_START_TIMEOUT_S} s")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
