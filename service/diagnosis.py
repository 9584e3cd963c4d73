"""What this machine can run the model on, and why not on more: the facts that `doctor` prints."""

import contextlib
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, get_args

from kohonen_tokenizer.install_command import install_command

from .errors import DeviceError, TokenizerError
from .installation import Extra, Package, list_extras, list_packages
from .runtime.backends import device_check, load_backend
from .runtime.bundle import Bundle, load_bundle
from .runtime.cuda import list_gpus
from .runtime.devices import Device
from .runtime.manifest import GraphFormat
from .runtime.silent_onnxruntime import onnxruntime as ort
from .runtime.tensors import pixels_group
from .runtime.threads import available_threads

TIMED_RUNS: Final = 10

_CGROUP_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where this process runs."""

    python: str
    platform: str
    usable_cpus: int
    """By affinity and the cgroup's quota; what the model gets by default."""
    all_cpus: int
    memory_bytes: int | None
    """By the cgroup's limit where there is one; None where the system does not say."""
    gpus: list[str]


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether something can be used."""

    name: str
    is_usable: bool
    detail: str
    """Why it is not, and the fix; or what else there is to know."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The bundle on one device."""

    device: Device
    description: str
    load_s: float
    encode_s: float
    """Median over `TIMED_RUNS` runs on one image."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was found."""

    machine: Machine
    packages: list[Package]
    extras: list[Extra]
    providers: list[str]
    """What this build of onnxruntime knows, installed or not."""
    backends: list[Finding]
    devices: list[Finding]
    """For the backend asked for."""
    bundle: Finding | None
    timings: list[Timing]


def diagnose(*, backend: GraphFormat, bundle: Path | None = None, device: Device | None = None) -> Diagnosis:
    """Look at this machine, and run the model of `bundle`, if one is given, on each device that works.

    Args:
        backend: whose devices are tried; torch is imported only for its own backends.
        bundle: a bundle to verify, and to encode one image with.
        device: the only one to run it on; without it all that work do, but tensorrt, which loads for minutes.
    """
    devices = [_try_device(name, backend=backend) for name in get_args(Device)]
    usable = [name for name, found in zip(get_args(Device), devices, strict=True) if found.is_usable]
    packages = list_packages()
    found: Finding | None = None
    timings: list[Timing] = []
    if bundle is not None:
        timed = [name for name in usable if name == device or (device is None and name != "tensorrt")]
        found, timings = _try_bundle(bundle, backend=backend, devices=timed)
    return Diagnosis(
        machine=_look_at_machine(),
        packages=packages,
        extras=list_extras(),
        providers=ort.get_available_providers(),
        backends=_list_backends(packages),
        devices=devices,
        bundle=found,
        timings=timings,
    )


def _look_at_machine() -> Machine:
    try:
        gpus = [f"{gpu.name}, {gpu.memory_bytes / 2**30:.0f} GiB" for gpu in list_gpus()]
    except DeviceError:
        gpus = []
    return Machine(
        python=f"{platform.python_version()} ({sys.executable})",
        platform=platform.platform(),
        usable_cpus=available_threads(),
        all_cpus=os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        gpus=gpus,
    )


def _memory_bytes() -> int | None:
    if not hasattr(os, "sysconf"):
        return None
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # There may be no cgroup, or one without a limit, which reads "max".
    with contextlib.suppress(OSError, ValueError):
        memory_bytes = min(memory_bytes, int(_CGROUP_MEMORY_MAX.read_text()))
    return memory_bytes


def _try_device(device: Device, *, backend: GraphFormat) -> Finding:
    try:
        device_check(backend)(device)
    except DeviceError as error:
        return Finding(device, False, str(error).removeprefix(f'device "{device}" does not work here: '))
    return Finding(device, True, "")


def _list_backends(packages: list[Package]) -> list[Finding]:
    findings = [Finding("onnx", True, f"onnxruntime {ort.__version__}")]
    version = next(package.version for package in packages if package.name == "torch")
    for name in ("torchscript", "torch_export"):
        detail = f"torch {version}" if version else f"run: {install_command('torch')}"
        findings.append(Finding(name, version is not None, detail))
    return findings


def _try_bundle(path: Path, *, backend: GraphFormat, devices: list[Device]) -> tuple[Finding, list[Timing]]:
    timings: list[Timing] = []
    try:
        bundle = load_bundle(path, graph_format=backend)
        for device in devices:
            timings.append(_time(bundle, device=device))
    except (TokenizerError, OSError) as error:
        return Finding(str(path), False, str(error)), timings
    return Finding(str(path), True, "every file is as the manifest says"), timings


def _time(bundle: Bundle, *, device: Device) -> Timing:
    started = time.perf_counter()
    backend = load_backend(bundle, device=device)
    load_s = time.perf_counter() - started
    image, runs_s = pixels_group(bundle.manifest.image).zeros(1), []
    for _ in range(TIMED_RUNS):
        started = time.perf_counter()
        backend.encode(image)
        runs_s.append(time.perf_counter() - started)
    return Timing(device, backend.description, load_s, median(runs_s))
