"""Jobs that die: kill -9 at any moment, a full disk, a dead worker. What they leave is carried on to the same bytes."""

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

from .conftest import Command, files_of, png

NUM_IMAGES, ROWS_PER_SHARD = 360, 4
NUM_SHARDS = NUM_IMAGES // ROWS_PER_SHARD

Job = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of 360 images, a few of them broken."""
    images = np.random.default_rng(0).integers(0, 256, size=(NUM_IMAGES, 8, 8, 3), dtype=np.uint8)
    (tmp_path / "many").mkdir()
    for number, image in enumerate(images):
        content = png(image)
        (tmp_path / "many" / f"{number:04d}.png").write_bytes(content[:40] if number % 100 == 50 else content)
    return tmp_path / "many"


@pytest.fixture
def start(many: Path, tiny_bundle: Path) -> Job:
    """Start `encode` of the many images in a process of its own."""

    def begin(out: Path, *, workers: int = 1, max_file_bytes: int | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kohonen_tokenizer", "encode", str(many), str(out)]
        command += ["--bundle", str(tiny_bundle), "--device", "cpu", "--json"]
        command += ["--rows-per-shard", str(ROWS_PER_SHARD), "--workers", str(workers)]

        def limit() -> None:
            if max_file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit
        )

    return begin


@pytest.fixture
def unbroken(run: Command, many: Path, tiny_bundle: Path, tmp_path: Path) -> dict[str, bytes]:
    """The files of a run that nobody disturbed."""
    options = ["--bundle", tiny_bundle, "--device", "cpu", "--workers", "1"]
    assert run("encode", many, tmp_path / "unbroken", *options, "--rows-per-shard", str(ROWS_PER_SHARD))[0] == 3
    return files_of(tmp_path / "unbroken")


def num_complete(out: Path) -> int:
    return len(list((out / "_job").glob("[0-9]*.json")))


def test_killed_at_ten_random_moments_the_bytes_are_those_of_an_unbroken_run(
    start: Job, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    out, rng = tmp_path / "out", random.Random(0)
    progress = []
    for kill in range(10):
        # Some within its start, the most while shards are being written.
        wait_for = num_complete(out) + rng.randrange(-2, 12) if kill else 0
        with start(out, workers=2 if kill % 4 == 3 else 1) as job:
            while num_complete(out) < wait_for and job.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.05))
            job.send_signal(signal.SIGKILL)
            job.wait()
        progress.append(num_complete(out))
    assert 0 < progress[-1] < NUM_SHARDS, progress
    assert not (out / "_manifest.json").exists()
    with start(out, workers=2) as job:
        _, err = job.communicate()
    assert job.returncode == 3, err
    assert files_of(out) == unbroken


def test_a_disk_that_takes_no_more_ends_the_job_in_a_line(
    start: Job, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    smallest = min(len(content) for name, content in unbroken.items() if "_job" not in name)
    plan_bytes = max(len(unbroken[name]) for name in ("_job/pieces.parquet", "_job/plan.json"))
    assert plan_bytes > smallest
    # A limit of the process stands for the disk: the plan fits, and half a shard is written before it is hit.
    with start(out, max_file_bytes=smallest - 100) as job:
        _, err = job.communicate()
    assert job.returncode == 2
    assert err.count("\n") == 1
    assert err.startswith(f"error: {out}/")
    assert "File too large; mend that, and the same command carries on" in err
    assert not list(out.rglob(".*.tmp"))
    with start(out) as job:
        job.communicate()
    assert files_of(out) == unbroken


def test_a_worker_that_dies_ends_the_job_in_a_line(
    start: Job, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with start(out, workers=2) as job:
        while num_complete(out) < 3:
            assert job.poll() is None
            time.sleep(0.001)
        worker = next(pid for pid in children_of(job.pid) if "spawn_main" in command_of(pid))
        os.kill(worker, signal.SIGKILL)
        _, err = job.communicate()
    assert job.returncode == 2
    assert err.startswith("error: a worker process died (was it killed, or out of memory?); the same command")
    assert err.count("\n") == 1
    with start(out) as job:
        job.communicate()
    assert files_of(out) == unbroken


def test_the_workers_of_a_killed_job_end_with_it(start: Job, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start(out, workers=2) as job:
        while num_complete(out) < 1:
            assert job.poll() is None
            time.sleep(0.001)
        workers = [pid for pid in children_of(job.pid) if "spawn_main" in command_of(pid)]
        assert len(workers) == 2
        job.kill()
    deadline = time.monotonic() + 10
    while any(command_of(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.01)


def test_ctrl_c_stops_and_says_so(start: Job, unbroken: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start(out, workers=2) as job:
        while num_complete(out) < 1:
            assert job.poll() is None
            time.sleep(0.001)
        job.send_signal(signal.SIGINT)
        _, err = job.communicate()
    assert (job.returncode, err) == (130, "interrupted; the same command carries on\n")
    with start(out) as job:
        job.communicate()
    assert files_of(out) == unbroken


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
