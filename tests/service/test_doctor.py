import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kohonen_tokenizer import cli
from kohonen_tokenizer.install_command import install_command
from kohonen_tokenizer.service import diagnosis
from kohonen_tokenizer.service.errors import DeviceError
from kohonen_tokenizer.service.runtime.cuda import Gpu
from kohonen_tokenizer.service.runtime.silent_onnxruntime import onnxruntime as ort

Doctor = Callable[..., tuple[int, str]]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Run the command: doctor("--json") is its exit status and what it prints."""

    def run(*args: str | Path) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(["doctor", *map(str, args)])
        assert isinstance(caught.value.code, int)
        out, err = capsys.readouterr()
        assert err == ""
        return caught.value.code, out

    return run


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU, whatever this one has."""

    def check(device: str) -> None:
        if device != "cpu":
            raise DeviceError(f'device "{device}" does not work here: no driver; install one')

    def list_no_gpus() -> list[Gpu]:
        raise DeviceError("no driver; install one")

    monkeypatch.setattr(diagnosis, "device_check", lambda backend: check)
    monkeypatch.setattr(diagnosis, "list_gpus", list_no_gpus)


def facts(out: str) -> dict[str, list[str]]:
    """What is printed, by the word that a line begins with."""
    found: dict[str, list[str]] = {}
    for line in out.splitlines():
        found.setdefault(line[:11].rstrip(), []).append(line[11:])
    return found


def test_it_says_what_works_and_why_not_more(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "available_threads", lambda: 3)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["SomeProvider", "CPUExecutionProvider"])
    status, out = doctor()
    assert status == 0
    found = facts(out)
    assert found["device"] == [
        "cpu: usable",
        "cuda: not usable, no driver; install one",
        "tensorrt: not usable, no driver; install one",
    ]
    assert found["CPUs"][0].startswith("3 usable, ")
    assert found["memory"][0].endswith(" GiB")
    assert found["GPU"] == ["none"]
    assert found["provider"] == ["SomeProvider", "CPUExecutionProvider"]
    assert found["backend"][0] == f"onnx: usable, onnxruntime {ort.__version__}"
    assert any(package.startswith("numpy ") for package in found["package"])
    assert any(extra.startswith("gpu: ") for extra in found["extra"])
    assert "bundle" not in found


def test_gpus_are_named(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "list_gpus", lambda: [Gpu("NVIDIA H100", 80 * 2**30)])
    assert facts(doctor()[1])["GPU"] == ["NVIDIA H100, 80 GiB"]


def test_memory_is_bounded_by_the_cgroup(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(diagnosis, "_CGROUP_MEMORY_MAX", limit)
    without = facts(doctor()[1])["memory"]
    limit.write_text("max\n")
    assert facts(doctor()[1])["memory"] == without
    limit.write_text(f"{2**29}\n")
    assert facts(doctor()[1])["memory"] == ["0.5 GiB"]


def test_memory_may_be_unknown(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf")
    assert facts(doctor()[1])["memory"] == ["unknown"]


def test_without_torch_its_backends_name_the_extra(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = [diagnosis.Package("torch", None, None)]
    monkeypatch.setattr(diagnosis, "list_packages", lambda: packages)
    for line in facts(doctor()[1])["backend"][1:]:
        assert line.endswith(f": not usable, run: {install_command('torch')}")


@pytest.mark.parametrize(("device", "status"), [("cpu", 0), ("cuda", 1), ("tensorrt", 1)])
def test_the_status_is_that_of_the_device_asked_for(doctor: Doctor, device: str, status: int) -> None:
    assert doctor("--device", device)[0] == status


def test_a_bundle_is_verified_and_timed_on_what_works(doctor: Doctor, tiny_bundle: Path) -> None:
    status, out = doctor("--bundle", tiny_bundle)
    assert status == 0
    found = facts(out)
    assert found["bundle"] == [f"{tiny_bundle}: usable, every file is as the manifest says"]
    (line,) = found["encode"]
    assert line.startswith("cpu: loaded in ")
    assert "CPUExecutionProvider" in line


def test_a_bundle_is_verified_where_its_device_does_not_work(doctor: Doctor, tiny_bundle: Path) -> None:
    status, out = doctor("--bundle", tiny_bundle, "--device", "cuda")
    assert status == 1
    assert "usable" in facts(out)["bundle"][0]
    assert "encode" not in facts(out)


def test_tensorrt_is_timed_only_when_asked_for(
    doctor: Doctor, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = []

    def time(bundle: Any, *, device: Any) -> diagnosis.Timing:
        timed.append(device)
        return diagnosis.Timing(device, "an engine", 1.0, 0.001)

    monkeypatch.setattr(diagnosis, "device_check", lambda backend: lambda device: None)
    monkeypatch.setattr(diagnosis, "_time", time)
    doctor("--bundle", tiny_bundle)
    assert timed == ["cpu", "cuda"]
    out = doctor("--bundle", tiny_bundle, "--device", "tensorrt")[1]
    assert timed == ["cpu", "cuda", "tensorrt"]
    assert facts(out)["encode"] == ["tensorrt: loaded in 1.00 s, an image in 1.00 ms (an engine)"]


def test_a_broken_bundle_is_reported(
    doctor: Doctor, make_bundle: Callable[..., Path], tiny_files: dict[str, bytes]
) -> None:
    folder = make_bundle(tiny_files)
    (folder / "decoder.onnx").write_bytes(b"")
    status, out = doctor("--bundle", folder)
    assert status == 1
    assert facts(out)["bundle"][0].startswith(f"{folder}: not usable, decoder.onnx has 0 bytes")


def test_the_same_as_json(doctor: Doctor, tiny_bundle: Path) -> None:
    status, out = doctor("--json", "--bundle", tiny_bundle)
    assert status == 0
    found = json.loads(out)
    assert [device["is_usable"] for device in found["devices"]] == [True, False, False]
    assert found["machine"]["gpus"] == []
    assert found["bundle"]["name"] == str(tiny_bundle)
    assert found["timings"][0]["encode_s"] > 0
