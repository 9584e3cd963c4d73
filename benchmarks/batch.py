"""The batch job beside its in-process ceiling, a DataLoader loop and Ray Data: JSON in benchmarks/results/.

    python -m benchmarks.batch

Folders of JPEG files are encoded, the files in the page cache, by the command as a user gives it. A program
is run on a small and on a large folder, and its rate is the images more by the seconds more: what it takes to
start, a second or two, is no part of a job of hours. In each round the ceiling and the programs are measured
one after the other and a ratio is taken within a round; the ceiling decodes images from memory and writes
nothing. Beside the ratio in seconds stands the one in CPU seconds, which moves little with what else the
machine does.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from kohonen_tokenizer import Tokenizer

from .ceiling import Ceiling
from .machine import describe_machine, peer_versions, write_result
from .peer_environment import PEERS, PEERS_VENV, install_peers
from .processes import usage
from .servers import ROOT
from .workloads import Name, Workload, make_workloads

RATIO_AIM = 0.90
RAY_DATA = "Ray Data: read_images, map_batches, write_parquet"
# Of the small and of the large folder, by the workload whose images they hold.
NUM_IMAGES: dict[Name, tuple[int, int]] = {"A": (4096, 36864), "C": (2048, 18432)}
# So few that every folder keeps all workers busy: a job of one shard starts no processes, and the difference
# of two folders would hold their start.
ROWS_PER_SHARD = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one run of a program took."""

    seconds: float
    cpu_s: float
    """Of the processes that it has waited for; Ray's own are not among them."""
    peak_rss_mib: float
    """Of all its processes together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One program in one round."""

    images: str
    program: str
    images_per_s: float
    images_per_cpu_s: float | None
    """None where not all processes are counted."""
    ratio: float
    """Of images a second to the ceiling's in this round."""
    cpu_ratio: float | None
    peak_rss_mib: tuple[float, float]
    """On the small folder and on the large."""


Command = Callable[[Path, Path], list[str]]
"""From a folder of images and a place for the tokens."""


def main() -> int:
    """Measure, print and write; the status is 1 if an aim is missed."""
    arguments = _parse_arguments()
    install_peers()
    workloads = make_workloads(Tokenizer.load(arguments.bundle))
    measurements = []
    with tempfile.TemporaryDirectory() as folder:
        for name, sizes in NUM_IMAGES.items():
            measurements += _measure(
                workloads[name],
                sizes=(sizes[0] // 2, sizes[1] // 2) if arguments.quick else sizes,
                bundle=arguments.bundle,
                rounds=arguments.rounds,
                scratch=Path(folder, name),
            )
    is_met = _print_report(measurements)
    if not arguments.quick:
        content = {
            **describe_machine(),
            "peers": peer_versions(PEERS_VENV),
            "rounds": arguments.rounds,
            "measurements": list(map(asdict, measurements)),
        }
        print(f"\nWritten: {write_result('batch', content)}")
    return 0 if is_met else 1


def _measure(
    workload: Workload, *, sizes: tuple[int, int], bundle: Path, rounds: int, scratch: Path
) -> list[Measurement]:
    (scratch / "out").mkdir(parents=True)
    folders = [write_images(workload, count, scratch / str(count)) for count in sizes]
    encoder = bundle.resolve() / "encoder.onnx"
    programs: dict[str, Command] = {
        "kohonen-tokenizer encode": lambda source, out: [
            *(sys.executable, "-m", "kohonen_tokenizer", "encode", str(source), str(out)),
            *("--bundle", str(bundle), "--device", "cpu", "--rows-per-shard", str(ROWS_PER_SHARD)),
        ],
        "DataLoader loop": lambda source, out: [
            *(sys.executable, "-m", "benchmarks.dataloader_loop", str(source), str(encoder), f"{out}.npy")
        ],
        RAY_DATA: lambda source, out: [
            *("env", f"ENCODER={encoder}", str(PEERS_VENV / "bin" / "python")),
            *(str(PEERS / "ray_data_job.py"), str(source), str(out)),
        ],
    }
    ceiling = Ceiling(encoder)
    best = ceiling.find_best(workload, seconds=1)
    found = []
    for number in range(rounds):
        started_cpu_s, started = time.process_time(), time.perf_counter()
        ceiling_rate = ceiling.measure(workload, using=best, seconds=6)
        ceiling_cpu_rate = (
            ceiling_rate * (time.perf_counter() - started) / (time.process_time() - started_cpu_s)
        )
        for program, command in programs.items():
            outputs = [scratch / "out" / str(count) for count in sizes]
            small, large = (_run(command(folder, out)) for folder, out in zip(folders, outputs, strict=True))
            num_images = sizes[1] - sizes[0]
            rate = num_images / (large.seconds - small.seconds)
            cpu_rate = None if program == RAY_DATA else num_images / (large.cpu_s - small.cpu_s)
            found.append(
                Measurement(
                    images=workload.title.partition(" -> ")[0],
                    program=program,
                    images_per_s=rate,
                    images_per_cpu_s=cpu_rate,
                    ratio=rate / ceiling_rate,
                    cpu_ratio=cpu_rate and cpu_rate / ceiling_cpu_rate,
                    peak_rss_mib=(small.peak_rss_mib, large.peak_rss_mib),
                )
            )
            print(f"round {number + 1}, ceiling {ceiling_rate:,.0f} images/s ({best}): {_line(found[-1])}")
            shutil.rmtree(scratch / "out")
            (scratch / "out").mkdir()
    return found


def write_images(workload: Workload, count: int, folder: Path) -> Path:
    """Put `count` image files of `workload` into `folder`."""
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(workload.bodies[number % len(workload.bodies)])
    return folder


def _run(command: Sequence[str]) -> Cost:
    """Run `command` to its end."""
    before, started = os.times(), time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        peak_rss_mib = 0.0
        while process.poll() is None:
            peak_rss_mib = max(peak_rss_mib, usage(process.pid).rss_mib)
            time.sleep(0.1)
    if process.returncode:
        sys.exit(f"error: {' '.join(command)} ended with status {process.returncode}")
    after = os.times()
    return Cost(
        seconds=time.perf_counter() - started,
        cpu_s=after.children_user + after.children_system - before.children_user - before.children_system,
        peak_rss_mib=peak_rss_mib,
    )


def _print_report(measurements: Sequence[Measurement]) -> bool:
    """Print the medians and the aims; whether all are met."""
    is_met = True
    print()
    for images, program in dict.fromkeys((m.images, m.program) for m in measurements):
        of = [m for m in measurements if (m.images, m.program) == (images, program)]
        ratio = median(m.ratio for m in of)
        cpu_ratios = [m.cpu_ratio for m in of if m.cpu_ratio is not None]
        line = f"{images}, {program}: {median(m.images_per_s for m in of):,.0f} images/s, "
        line += f"{ratio:.1%} of the ceiling{_in_cpu_time(median(cpu_ratios) if cpu_ratios else None)}"
        if program.startswith("kohonen"):
            is_met = is_met and ratio >= RATIO_AIM
            line += f", aim {RATIO_AIM:.0%}: {'met' if ratio >= RATIO_AIM else 'MISSED'}"
        print(line)
    return is_met


def _line(measured: Measurement) -> str:
    small, large = measured.peak_rss_mib
    return (
        f"{measured.images}, {measured.program}: {measured.images_per_s:,.0f} images/s, {measured.ratio:.1%}"
        f"{_in_cpu_time(measured.cpu_ratio)}, {small:.0f} and {large:.0f} MiB at most"
    )


def _in_cpu_time(ratio: float | None) -> str:
    return "" if ratio is None else f" ({ratio:.1%} in CPU time)"


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=ROOT / "bundles" / "cifar10-ksom-512")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--quick", action="store_true", help="half of the images; nothing is written")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
