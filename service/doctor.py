"""The command `doctor`: what this machine can run the model on, and why not on more."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kohonen_tokenizer.install_command import install_command

from .diagnosis import Diagnosis, Finding, diagnose
from .runtime.devices import Device
from .runtime.manifest import GraphFormat


def doctor(
    *,
    bundle: Annotated[
        Path | None,
        typer.Option(help="A bundle to verify, and to encode an image with on each device that works."),
    ] = None,
    device: Annotated[
        Device | None,
        typer.Option(help="The one device that must work; with --bundle, the only one to run it on."),
    ] = None,
    backend: Annotated[
        GraphFormat, typer.Option(envvar="KOHONEN_BACKEND", help="The backend whose devices are tried.")
    ] = "onnx",
    as_json: Annotated[bool, typer.Option("--json", help="Print an object of JSON.")] = False,
) -> None:
    """Say what this machine can run the model on, and why not on more.

    The exit status is 1 if the device or the bundle that is given does not work, else 0.

    Example: kohonen-tokenizer doctor --bundle my-bundle --device cuda
    """
    diagnosis = diagnose(backend=backend, bundle=bundle, device=device)
    typer.echo(json.dumps(asdict(diagnosis), indent=2) if as_json else "\n".join(_lines(diagnosis)))
    asked = [finding for finding in diagnosis.devices if finding.name == device]
    if diagnosis.bundle is not None:
        asked.append(diagnosis.bundle)
    if not all(finding.is_usable for finding in asked):
        raise typer.Exit(1)


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    """One fact a line."""
    machine = diagnosis.machine
    yield f"python     {machine.python}"
    yield f"platform   {machine.platform}"
    yield f"CPUs       {machine.usable_cpus} usable, {machine.all_cpus} in the machine"
    memory = "unknown" if machine.memory_bytes is None else f"{machine.memory_bytes / 2**30:.1f} GiB"
    yield f"memory     {memory}"
    for gpu in machine.gpus or ["none"]:
        yield f"GPU        {gpu}"
    for package in diagnosis.packages:
        problem = f": {package.problem}" if package.problem else ""
        yield f"package    {package.name} {package.version or 'is not installed'}{problem}"
    for extra in diagnosis.extras:
        missing = f"not installed, without {', '.join(extra.missing)}; run: {install_command(extra.name)}"
        yield f"extra      {extra.name}: {missing if extra.missing else 'installed'}"
    for provider in diagnosis.providers:
        yield f"provider   {provider}"
    for finding in diagnosis.backends:
        yield f"backend    {_verdict(finding)}"
    for finding in diagnosis.devices:
        yield f"device     {_verdict(finding)}"
    if diagnosis.bundle is not None:
        yield f"bundle     {_verdict(diagnosis.bundle)}"
    for timing in diagnosis.timings:
        times = f"loaded in {timing.load_s:.2f} s, an image in {timing.encode_s * 1000:.2f} ms"
        yield f"encode     {timing.device}: {times} ({timing.description})"


def _verdict(finding: Finding) -> str:
    verdict = f"{finding.name}: {'usable' if finding.is_usable else 'not usable'}"
    return f"{verdict}, {finding.detail}" if finding.detail else verdict
