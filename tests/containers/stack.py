"""The services of the compose file while they run, on whatever engine there is.

ENGINE (docker) and COMPOSE (docker compose) are the commands, ENGINE_BUILD further arguments of the build.
"""

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
PROJECT = "kohonen-test"
IMAGE = "kohonen-tokenizer-test"
ENGINE = shlex.split(os.environ.get("ENGINE", "docker"))
COMPOSE = shlex.split(os.environ.get("COMPOSE", "docker compose"))
BUILD = [*ENGINE, "build", *shlex.split(os.environ.get("ENGINE_BUILD", ""))]


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run a command in the repository, and give its output; fail with all it said if it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | (environment or {}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> float:
    """Return after how many seconds `condition` held; fail if it did not in time."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, "waited in vain"
        time.sleep(0.1)
    return time.monotonic() - started


@dataclass(frozen=True)
class Stack:
    """Two replicas, the balancer and Prometheus, running."""

    url: str
    prometheus_url: str
    environment: dict[str, str]

    def up(self, *arguments: str) -> None:
        """Bring up what the compose file says, of the image that is built already."""
        command = ["--profile", "monitoring", "up", "--detach", "--no-build"]
        run(*COMPOSE, *command, *arguments, environment=self.environment)

    def down(self) -> None:
        """Remove all of it. Some engines forget replicas that were scaled up."""
        if left := containers():
            run(*ENGINE, "rm", "--force", *left)
        run(*COMPOSE, "--profile", "monitoring", "down", "--volumes", environment=self.environment)

    @property
    def replicas(self) -> list[str]:
        """The containers of the service, whether they run or not."""
        return containers("service=tokenizer")

    def is_ready(self, replica: str) -> bool:
        """Whether the replica's own health check succeeds."""
        check = [*ENGINE, "exec", replica, "python", "/opt/is_ready.py"]
        return subprocess.run(check, capture_output=True, check=False).returncode == 0

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus answers to an expression."""
        reply = httpx.get(f"{self.prometheus_url}/api/v1/query", params={"query": expression})
        assert reply.status_code == 200, reply.text
        result: list[dict[str, Any]] = reply.json()["data"]["result"]
        return result


def containers(*labels: str) -> list[str]:
    """The project's containers that have these labels of compose, too."""
    wanted = [f"label=com.docker.compose.{label}" for label in (f"project={PROJECT}", *labels)]
    filters = [word for label in wanted for word in ("--filter", label)]
    return run(*ENGINE, "ps", "--all", "--quiet", *filters).split()


def inspect(thing: str) -> dict[str, Any]:
    """What the engine knows of a container or an image."""
    found: list[dict[str, Any]] = json.loads(run(*ENGINE, "inspect", thing))
    return found[0]
