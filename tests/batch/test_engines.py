"""Which engine a command line chooses, and what is said where there is none."""

import sys
from pathlib import Path

import pytest

from .conftest import Command


def test_without_ray_the_extra_is_named(
    encode: Command, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    status, out, err = encode(photos, tmp_path / "out", "--engine", "ray")
    assert (status, out) == (2, "")
    assert err.startswith("error: --engine ray needs ray, which is not installed; run: ")
    assert "[ray]" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [["--ray-address", "head:6379"], ["--gpus-per-worker", "1.0"]])
def test_options_of_a_cluster_are_refused_without_one(
    encode: Command, tmp_path: Path, photos: Path, option: list[str]
) -> None:
    status, out, err = encode(photos, tmp_path / "out", *option)
    assert (status, out) == (2, "")
    assert err == f"error: {' '.join(option)} is for a cluster; give --engine ray too\n"
