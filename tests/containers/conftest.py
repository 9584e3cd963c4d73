"""Builds and starts what the tests look at, as an operator does it.

STAND_INS=1 takes Debian's nginx and Prometheus where no registry gives their images.
"""

import os
import socket
from collections.abc import Iterator

import pytest

from kohonen_tokenizer import __version__

from .stack import BUILD, IMAGE, PROJECT, Stack, run, wait_until


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _build(target: str) -> str:
    tag = f"{IMAGE}:{target}"
    run(*BUILD, "--target", target, "--tag", tag, "--build-arg", f"VERSION={__version__}", ".")
    return tag


@pytest.fixture(scope="session")
def image() -> str:
    """The CPU image, built from this tree."""
    return _build("cpu")


@pytest.fixture(scope="session")
def batch_image() -> str:
    """The image of the offline job, built from this tree."""
    return _build("batch")


@pytest.fixture(scope="session")
def stack(image: str) -> Iterator[Stack]:
    """The services, ready; they and what they keep are removed at the end."""
    port, prometheus_port = _free_port(), _free_port()
    environment = {
        "COMPOSE_PROJECT_NAME": PROJECT,
        "TOKENIZER_IMAGE": IMAGE,
        # Less than the default, so that it fits on small machines.
        "TOKENIZER_CPUS": "1",
        "TOKENIZER_MEMORY": "1g",
        "PORT": str(port),
        "PROMETHEUS_PORT": str(prometheus_port),
    }
    if os.environ.get("STAND_INS") == "1":
        stand_ins = f"{IMAGE}-stand-ins"
        run(*BUILD, "--tag", stand_ins, "--file", "tests/containers/stand-ins.Dockerfile", "tests/containers")
        environment |= {"BALANCER_IMAGE": stand_ins, "PROMETHEUS_IMAGE": stand_ins}
    started = Stack(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{prometheus_port}", environment)
    # What a run that was killed has left is of another image.
    started.down()
    try:
        started.up("--scale", "tokenizer=2", "tokenizer", "balancer", "prometheus")
        wait_until(lambda: all(started.is_ready(replica) for replica in started.replicas))
        yield started
    finally:
        started.down()
