"""The server that faults are done to: a process of its own, as an operator starts it."""

import http.client
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ..client import HOST
from ..processes import free_port, running

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "cifar10-ksom-512"
SERVE = (sys.executable, "-m", "kohonen_tokenizer", "serve")
_START_TIMEOUT_S = 90.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultyServer:
    """A server that runs, and to which something may be done."""

    pid: int
    port: int
    log: Path

    @property
    def workers(self) -> list[int]:
        """The processes that it has started, if it is a supervisor."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(child) for child in children.split()]

    @property
    def num_ready_workers(self) -> int:
        """Of several workers, those that are ready."""
        _, metrics = self.get("/metrics")
        found = re.search(rb'^kohonen_workers{ready="true"} (\S+)$', metrics, re.MULTILINE)
        return int(float(found[1])) if found else 0

    def get(self, path: str, *, timeout_s: float = 5.0) -> tuple[int, bytes]:
        """Status and body of a GET on a connection of its own; status 0 without an answer."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    @property
    def is_ready(self) -> bool:
        """Whether /readyz answers 200."""
        return self.get("/readyz")[0] == 200


@contextmanager
def serving(
    *options: str, command: Sequence[str] = SERVE, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[FaultyServer]:
    """Serve inside the block, and be ready at its start.

    Args:
        options: of `kohonen-tokenizer serve`, beside the port; with none that says what, the shipped bundle.
        command: what is started in place of `kohonen-tokenizer serve`, or around it.
        environment: variables on top of this process's own.
    """
    port = free_port()
    what = () if {"--models", "--bundle"} & set(options) else ("--bundle", str(BUNDLE))
    full = [*command, *what, "--device", "cpu", "--port", str(port), *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        env = {"KOHONEN_LOG_LEVEL": "warning", **environment}
        with running(full, env=env, cwd=ROOT, log=log) as pid:
            server = FaultyServer(pid=pid, port=port, log=log)
            try:
                wait_until(lambda: server.is_ready, timeout_s=_START_TIMEOUT_S)
            except TimeoutError as error:
                raise RuntimeError(f"the server did not come up: {log.read_text()[-2000:]}") from error
            yield server


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> float:
    """The seconds after which `condition` held.

    Raises:
        TimeoutError: it did not within `timeout_s`.
    """
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout_s:
            raise TimeoutError(f"waited for {timeout_s:g} s in vain")
        time.sleep(0.02)
    return time.monotonic() - started
