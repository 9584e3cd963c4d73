"""Jobs that die, by kill -9, a full disk or a dead worker, and are carried on to the same bytes."""

import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kohonen_tokenizer.cli import main

from .conftest import Command, files_of, png

NUM_IMAGES, ROWS_PER_SHARD = 360, 4
NUM_SHARDS = NUM_IMAGES // ROWS_PER_SHARD

Arguments = Callable[..., list[str]]
Job = Callable[[Path], subprocess.Popen[str]]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of 360 images, a few of them broken."""
    images = np.random.default_rng(0).integers(0, 256, size=(NUM_IMAGES, 8, 8, 3), dtype=np.uint8)
    (tmp_path / "many").mkdir()
    for number, image in enumerate(images):
        content = png(image)
        (tmp_path / "many" / f"{number:04d}.png").write_bytes(content[:40] if number % 100 == 50 else content)
    return tmp_path / "many"


# Its children begin with everything imported, and a job of one worker is one process: ten starts in a second.
QUICK = multiprocessing.get_context("forkserver")
QUICK.set_forkserver_preload(["kohonen_tokenizer.cli", "kohonen_tokenizer.batch.reporting"])


@pytest.fixture
def arguments(many: Path, tiny_bundle: Path) -> Arguments:
    """The command line of `encode` of the many images."""

    def make(out: Path, *, workers: int = 1) -> list[str]:
        return [
            *("encode", str(many), str(out), "--bundle", str(tiny_bundle), "--device", "cpu", "--json"),
            *("--rows-per-shard", str(ROWS_PER_SHARD), "--workers", str(workers)),
        ]

    return make


@pytest.fixture
def start(arguments: Arguments) -> Job:
    """Start it in a process of its own, with two workers."""

    def begin(out: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kohonen_tokenizer", *arguments(out, workers=2)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    return begin


@pytest.fixture
def unbroken(run: Command, arguments: Arguments, tmp_path: Path) -> dict[str, bytes]:
    """The files of a run that nobody disturbed."""
    assert run(*arguments(tmp_path / "unbroken"))[0] == 3
    return files_of(tmp_path / "unbroken")


def num_complete(out: Path) -> int:
    return len(list((out / "_job").glob("[0-9]*.json")))


def test_killed_at_ten_random_moments_the_bytes_are_those_of_an_unbroken_run(
    run: Command, arguments: Arguments, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    out, rng = tmp_path / "out", random.Random(0)
    progress = []
    for kill in range(10):
        # Some before the first shard, the most while one is being written.
        wait_for = num_complete(out) + rng.randrange(1, 12) if kill else 0
        job = QUICK.Process(target=main, args=(arguments(out),))
        job.start()
        while num_complete(out) < wait_for:
            assert job.exitcode is None
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.02))
        job.kill()
        job.join()
        assert job.exitcode == -signal.SIGKILL
        progress.append(num_complete(out))
    assert 0 < progress[-1] < NUM_SHARDS, progress
    assert not (out / "_manifest.json").exists()
    assert run(*arguments(out))[0] == 3
    assert files_of(out) == unbroken


def test_a_disk_that_takes_no_more_ends_the_job_in_a_line(
    run: Command, arguments: Arguments, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    # A limit of the process stands for the disk: the plan fits, and a part of the first shard.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        status, stdout, err = run(*arguments(out), "--rows-per-shard", "100000")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (status, stdout) == (2, "")
    assert err == f"error: {out}/00000.parquet: File too large; mend that, and the same command carries on\n"
    assert not list(out.rglob(".*.tmp"))
    assert run(*arguments(out), "--rows-per-shard", "100000")[0] == 3
    assert run("verify", out)[0] == 0


def test_a_worker_that_dies_ends_the_job_in_a_line(
    run: Command, arguments: Arguments, start: Job, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with start(out) as job:
        worker, _ = wait_for_workers(job, out)
        os.kill(worker, signal.SIGKILL)
        _, err = job.communicate()
    assert job.returncode == 2
    assert err.startswith("error: a worker process died (was it killed, or out of memory?); the same command")
    assert err.count("\n") == 1
    assert run(*arguments(out))[0] == 3
    assert files_of(out) == unbroken


def test_the_workers_of_a_killed_job_end_with_it(start: Job, tmp_path: Path) -> None:
    with start(tmp_path / "out") as job:
        workers = wait_for_workers(job, tmp_path / "out")
        job.kill()
    deadline = time.monotonic() + 10
    while any(command_of(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.01)


def test_ctrl_c_stops_and_says_so(
    run: Command, arguments: Arguments, start: Job, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with start(out) as job:
        wait_for_workers(job, out)
        job.send_signal(signal.SIGINT)
        _, err = job.communicate()
    assert (job.returncode, err) == (130, "interrupted; the same command carries on\n")
    assert run(*arguments(out))[0] == 3
    assert files_of(out) == unbroken


def wait_for_workers(job: subprocess.Popen[str], out: Path) -> list[int]:
    """The process ids of the two workers, once they are at work."""
    while num_complete(out) < 1:
        assert job.poll() is None
        time.sleep(0.001)
    workers = [pid for pid in children_of(job.pid) if "spawn_main" in command_of(pid)]
    assert len(workers) == 2
    return workers


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
