import os
from pathlib import Path

import pytest

from kohonen_tokenizer.service.runtime.threads import available_threads, share_cpus


@pytest.fixture(autouse=True)
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("max 100000\n", 4),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("800000 100000\n", 4),
    ],
)
def test_the_quota_bounds_the_affinity(tmp_path: Path, cpu_max: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max)
    assert available_threads(tmp_path / "cpu.max") == expected


def test_without_a_cgroup_the_affinity_counts(tmp_path: Path) -> None:
    assert available_threads(tmp_path / "cpu.max") == 4


def test_without_affinity_all_cpus_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_threads(tmp_path / "cpu.max") == 6


@pytest.mark.parametrize(("num_processes", "expected"), [(2, 2), (3, 1), (9, 1)])
def test_processes_side_by_side_share_the_cpus(tmp_path: Path, num_processes: int, expected: int) -> None:
    share_cpus(num_processes)
    try:
        assert available_threads(tmp_path / "cpu.max") == expected
    finally:
        share_cpus(1)
