"""The servers that are compared: how each is started, and where it takes which workload."""

import asyncio
import io
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .client import HOST, Reply, post, send_all
from .peer_environment import PEERS, PEERS_VENV
from .processes import free_port, running
from .workloads import Name, Tokens, Workload

ROOT = Path(__file__).parent.parent

_READY_TIMEOUT_S = 90


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A server that can be started."""

    name: str
    command: tuple[str, ...]
    """The server listens on the port in place of {port}, or in its variable PORT."""
    paths: Mapping[Name, str]
    """Where it takes each workload; others it does not take."""
    is_peer: bool = False
    has_metrics: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A server that runs."""

    server: Server
    pid: int
    port: int


def all_servers(bundle: Path) -> list[Server]:
    """Ours, as a user starts it, and the peers."""
    serve = str(Path(sys.executable).with_name("kohonen-tokenizer"))
    ours = (serve, "serve", "--bundle", str(bundle), "--port", "{port}")
    everything: Mapping[Name, str] = {"A": "/encode", "A-npy": "/encode", "B": "/encode", "C": "/encode"}
    python = str(PEERS_VENV / "bin" / "python")
    return [
        Server(name="ours", command=ours, paths=everything, has_metrics=True),
        Server(name="ours-2-workers", command=(*ours, "--workers", "2"), paths=everything, has_metrics=True),
        *(
            Server(
                name=name,
                command=(python, *arguments),
                paths={"A": "/jpeg", "B": "/npy", "C": "/jpeg"},
                is_peer=True,
            )
            for name, *arguments in (
                ("FastAPI", "fastapi_app.py"),
                ("LitServe", "litserve_app.py"),
                ("mosec", "mosec_app.py"),
                ("Ray Serve", "ray_serve_app.py"),
                (
                    "BentoML",
                    "-m",
                    "bentoml",
                    "serve",
                    "bentoml_app:Tokens",
                    "--host",
                    HOST,
                    "--port",
                    "{port}",
                ),
            )
        ),
    ]


def static_server() -> Server:
    """A server that does nothing with what it gets."""
    command = (sys.executable, "-m", "benchmarks.static_server", "--port", "{port}")
    return Server(name="static", command=command, paths={"A": "/", "B": "/", "C": "/"})


@contextmanager
def serving(server: Server, *, bundle: Path, log: Path) -> Iterator[Started]:
    """Run `server` on the graph of `bundle` inside the block, as soon as it takes connections.

    Raises:
        RuntimeError: it takes none within a minute and a half.
    """
    port = free_port()
    env = {
        "PORT": str(port),
        "ENCODER": str((bundle / "encoder.onnx").resolve()),
        "ORT_DISABLE_TELEMETRY": "1",
        "KOHONEN_LOG_LEVEL": "warning",
    }
    command = [argument.format(port=port) for argument in server.command]
    with running(command, env=env, cwd=PEERS if server.is_peer else ROOT, log=log) as pid:
        _retry(lambda: socket.create_connection((HOST, port)).close())
        yield Started(server=server, pid=pid, port=port)


def wait_until_right(started: Started, workload: Workload) -> None:
    """Wait until the server answers the first request of `workload` as it must.

    Raises:
        RuntimeError: it does not within a minute and a half.
    """
    _retry(lambda: check(started, workload, num_requests=1))


def requests_of(server: Server, workload: Workload) -> list[bytes]:
    """The requests of `workload`, as `server` takes them."""
    return [post(server.paths[workload.name], body, headers=workload.headers) for body in workload.bodies]


def check(started: Started, workload: Workload, *, num_requests: int | None = None) -> list[bytes]:
    """The bodies of the replies to `workload`, each of them right: it holds the tokens of this process.

    Args:
        num_requests: how many of the workload's requests to send; by default, each of them.

    Raises:
        RuntimeError: a reply is no 200, or its tokens are not the right ones.
        OSError: the server cannot be reached.
    """
    requests = requests_of(started.server, workload)[:num_requests]
    replies = asyncio.run(send_all(requests, port=started.port, concurrency=workload.concurrency))
    for number, (reply, expected) in enumerate(zip(replies, workload.tokens, strict=False)):
        if reply.status != 200:
            raise RuntimeError(
                f"{workload.name}, image {number}: status {reply.status}: {reply.body[:300]!r}"
            )
        if not np.array_equal(_tokens_of(reply), expected):
            raise RuntimeError(f"{workload.name}, image {number}: other tokens than those of this process")
    return [reply.body for reply in replies]


def _retry(attempt: Callable[[], object]) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while True:
        try:
            attempt()
        except (OSError, RuntimeError) as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not ready after {_READY_TIMEOUT_S} s: {error}") from error
            time.sleep(0.2)
        else:
            return


def _tokens_of(reply: Reply) -> Tokens:
    if reply.content_type == "application/x-npy":
        tokens: Tokens = np.load(io.BytesIO(reply.body))
        return tokens
    return np.asarray(json.loads(reply.body)["tokens"])
