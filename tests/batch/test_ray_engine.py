"""Jobs on a Ray cluster of two worker processes, which die, and end in the bytes of the local engine.

Ray runs in processes of its own, for to import it makes warnings, and here they are errors.
"""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from .conftest import Command, files_of, png

pytestmark = pytest.mark.ray

NUM_IMAGES, ROWS_PER_SHARD = 480, 4
NUM_SHARDS = NUM_IMAGES // ROWS_PER_SHARD

_TIMEOUT_S = 120
_CLUSTER = Path(__file__).with_name("ray_cluster.py")

Start = Callable[..., subprocess.Popen[str]]


@dataclass(frozen=True)
class Cluster:
    """One that runs."""

    pid: int
    address: str
    environment: dict[str, str]

    def workers(self, *, doing: str = "") -> set[int]:
        """The processes of the actors that encode, those in the method ``doing``: Ray calls them so."""
        commands = {pid: _command(pid) for pid in _descendants(self.pid)}
        return {pid for pid, it in commands.items() if it.startswith("ray::MapWorker") and doing in it}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two CPUs, so that two workers of one CPU have room."""
    others = {key: value for key, value in os.environ.items() if not key.startswith(("KOHONEN_", "RAY_"))}
    environment = others | {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Or it makes one and keeps it in the home directory.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    log_file = tmp_path_factory.mktemp("ray") / "log"
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        log_file.open("wb") as log,
        subprocess.Popen(
            [sys.executable, _CLUSTER, folder],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address, log_file.read_text()
            yield Cluster(process.pid, address, environment)
            process.communicate(timeout=_TIMEOUT_S)
        finally:
            # Its children end with it.
            process.kill()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, of which one, far from the first, is broken."""
    folder = tmp_path_factory.mktemp("many")
    images = np.random.default_rng(0).integers(0, 256, size=(NUM_IMAGES, 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(images):
        content = png(image)
        (folder / f"{number:04d}.png").write_bytes(content[:40] if number == 300 else content)
    return folder


@pytest.fixture
def options(tiny_bundle: Path) -> list[str]:
    """Of the job."""
    shards = ["--workers", "2", "--rows-per-shard", str(ROWS_PER_SHARD)]
    return ["--bundle", str(tiny_bundle), "--device", "cpu", "--json", *shards]


@pytest.fixture
def start(cluster: Cluster, options: list[str], many: Path) -> Start:
    """Start the job on the cluster in a process of its own."""

    def begin(out: Path, *more: str, source: Path = many) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kohonen_tokenizer", "encode", str(source), str(out), *options]
        return subprocess.Popen(
            [*command, "--engine", "ray", "--ray-address", cluster.address, *more],
            env=cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


@pytest.fixture
def local(run: Command, options: list[str], many: Path, tmp_path: Path) -> Path:
    """What the local engine makes of it."""
    assert run("encode", many, tmp_path / "local", *options, "--workers", "1")[0] == 3
    return tmp_path / "local"


def test_a_killed_worker_costs_its_shard_alone(
    cluster: Cluster, start: Start, local: Path, tmp_path: Path
) -> None:
    # The local engine began it: the half of the shards are there.
    out = shutil.copytree(local, tmp_path / "out")
    for shard in range(1, NUM_SHARDS, 2):
        (out / "_job" / f"{shard:05d}.json").unlink()
    with start(out) as job:
        _wait_until(lambda: _num_complete(out) > NUM_SHARDS // 2 + 3, job)
        killed = cluster.workers()
        assert len(killed) == 2
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert _num_complete(out) < NUM_SHARDS
        stdout, err = job.communicate(timeout=_TIMEOUT_S)
    assert job.returncode == 3, err
    result = json.loads(stdout)
    assert (result["num_shards_this_run"], result["num_images_this_run"]) == (
        NUM_SHARDS // 2,
        NUM_IMAGES // 2,
    )
    assert (result["num_images"], result["num_failed"]) == (NUM_IMAGES, 1)
    assert files_of(out) == files_of(local)


def test_a_killed_job_is_carried_on(cluster: Cluster, start: Start, local: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start(out) as job:
        _wait_until(lambda: _num_complete(out) > 3, job)
        job.kill()
    # Ray ends the actors of a job that is gone.
    _wait_until(lambda: not cluster.workers())
    num_complete = _num_complete(out)
    assert num_complete < NUM_SHARDS
    assert not (out / "_manifest.json").exists()
    with start(out) as job:
        stdout, err = job.communicate(timeout=_TIMEOUT_S)
    assert job.returncode == 3, err
    assert json.loads(stdout)["num_shards_this_run"] == NUM_SHARDS - num_complete
    assert files_of(out) == files_of(local)


def test_strict_stops_in_a_line_and_the_local_engine_carries_on(
    run: Command, options: list[str], many: Path, start: Start, local: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with start(out, "--strict") as job:
        stdout, err = job.communicate(timeout=_TIMEOUT_S)
    assert (job.returncode, stdout) == (4, ""), err
    assert _our_lines(err)[0].startswith("error: 0300.png: undecodable_image: ")
    assert len(_our_lines(err)) == 1
    assert run("encode", many, out, *options, "--workers", "1")[0] == 3
    assert files_of(out) == files_of(local)


def test_a_shard_whose_workers_all_die_ends_the_job_in_a_line(
    cluster: Cluster, start: Start, tmp_path: Path
) -> None:
    # Seconds of work: one shard of large images, all the same.
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "0.png").write_bytes(png(np.zeros((2000, 2000, 3), dtype=np.uint8)))
    for number in range(1, 200):
        (slow / f"{number}.png").hardlink_to(slow / "0.png")
    killed = set()
    with start(tmp_path / "out", "--rows-per-shard", "200", source=slow) as job:
        while job.poll() is None:
            # While an actor runs a method Ray calls its process by that.
            busy = cluster.workers(doing="submit")
            time.sleep(0.1)  # until it has said that it begins
            for pid in busy:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        stdout, err = job.communicate(timeout=_TIMEOUT_S)
    assert (job.returncode, stdout) == (2, ""), err
    line = _our_lines(err)[-1]
    assert line.startswith("error: shard 0 was begun 3 times, and each time its worker died"), err
    assert len(killed) >= 3


def test_ctrl_c_stops_and_says_so(cluster: Cluster, start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start(out) as job:
        _wait_until(lambda: _num_complete(out) > 3, job)
        job.send_signal(signal.SIGINT)
        stdout, err = job.communicate(timeout=_TIMEOUT_S)
    assert (job.returncode, stdout) == (130, ""), err
    assert _our_lines(err) == ["interrupted; the same command carries on"]
    _wait_until(lambda: not cluster.workers())


def _our_lines(err: str) -> list[str]:
    # Ray's own are on how Ray Data makes its actors, and on those that ended.
    return [line for line in err.splitlines() if not re.match(r"\[.* core_worker\.cc|.*\(raylet\)", line)]


def _num_complete(out: Path) -> int:
    return len(list((out / "_job").glob("[0-9]*.json")))


def _wait_until(condition: Callable[[], bool], job: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        if job is not None:
            assert job.poll() is None, job.communicate()
        time.sleep(0.01)


def _descendants(pid: int) -> set[int]:
    found = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = {int(child) for child in task.read_text().split()}
        except OSError:
            continue  # it ended meanwhile
        found |= children.union(*map(_descendants, children))
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
