"""What more workers bring to the batch job, of the local engine and of Ray: a table in benchmarks/results/.

    python -m benchmarks.batch_scaling

The same folders of JPEG files, in the page cache, are encoded by the command as a user gives it. A rate is of
the time from the first commit record to the last, so that what an engine takes to start is no part of it; it
has a column of its own. The engines are measured in turn, in each round every one.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from kohonen_tokenizer import Tokenizer
from kohonen_tokenizer.service.runtime.threads import available_threads

from .batch import ROWS_PER_SHARD, write_images
from .machine import describe_machine, write_result
from .servers import ROOT
from .workloads import Name, make_workloads

# By the workload whose images they are: many shards for each worker.
NUM_IMAGES: dict[Name, int] = {"A": 20_480, "C": 10_240}


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One run of the job."""

    images: str
    engine: str
    num_workers: int
    images_per_s: float
    seconds_to_first_shard: float
    """From the start of the command."""


def main() -> int:
    """Measure, print and write."""
    arguments = _parse_arguments()
    workloads = make_workloads(Tokenizer.load(arguments.bundle))
    measurements = []
    with tempfile.TemporaryDirectory() as folder:
        for name, num_images in NUM_IMAGES.items():
            workload = workloads[name]
            source = write_images(workload, num_images // (4 if arguments.quick else 1), Path(folder, name))
            for number in range(arguments.rounds):
                for engine in ("local", "ray"):
                    for num_workers in _worker_numbers():
                        out = Path(folder, "out", f"{name}-{number}-{engine}-{num_workers}")
                        measurements.append(
                            _measure(
                                source,
                                out,
                                bundle=arguments.bundle,
                                images=workload.title.partition(" -> ")[0],
                                engine=engine,
                                num_workers=num_workers,
                            )
                        )
                        print(measurements[-1], flush=True)
    machine = describe_machine()
    report = "\n".join(_report(measurements, machine=machine))
    print(f"\n{report}")
    if not arguments.quick:
        content = {**machine, "rounds": arguments.rounds, "measurements": list(map(asdict, measurements))}
        print(f"\nWritten: {write_result('batch-scaling', content, report=report)}")
    return 0


def _worker_numbers() -> list[int]:
    """1, 2, 4 and on, as many as there are CPUs."""
    return [2**power for power in range(available_threads().bit_length())]


def _measure(
    source: Path, out: Path, *, bundle: Path, images: str, engine: str, num_workers: int
) -> Measurement:
    command = [
        *(
            sys.executable,
            "-m",
            "kohonen_tokenizer",
            "encode",
            str(source),
            str(out),
            "--bundle",
            str(bundle),
        ),
        *("--device", "cpu", "--num-threads", "1", "--rows-per-shard", str(ROWS_PER_SHARD)),
        *("--engine", engine, "--workers", str(num_workers)),
    ]
    started = time.time()
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    times = sorted(path.stat().st_mtime for path in (out / "_job").glob("[0-9]*.json"))
    return Measurement(
        images=images,
        engine=engine,
        num_workers=num_workers,
        images_per_s=(len(times) - 1) * ROWS_PER_SHARD / (times[-1] - times[0]),
        seconds_to_first_shard=times[0] - started,
    )


def _report(measurements: Sequence[Measurement], *, machine: dict[str, object]) -> Iterator[str]:
    versions = machine["versions"]
    load = machine["load_average"]
    assert isinstance(versions, dict)
    assert isinstance(load, tuple)
    yield "# Workers of the batch job\n"
    yield (
        f"`python -m benchmarks.batch_scaling` on {machine['device']}, {str(machine['date'])[:10]}: "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}. Medians of the rounds; "
        f"workers have a thread each. The load average at the end was {load[0]:.1f}, {load[1]:.1f} and "
        f"{load[2]:.1f} over 1, 5 and 15 minutes; that of a job alone is its number of workers.\n"
    )
    yield "| images | engine | workers | images/s | of the local engine's one | first shard after |"
    yield "|---|---|---|---|---|---|"
    groups: dict[tuple[str, str, int], list[Measurement]] = {}
    for m in measurements:
        groups.setdefault((m.images, m.engine, m.num_workers), []).append(m)
    rates = {key: median(m.images_per_s for m in group) for key, group in groups.items()}
    for (images, engine, num_workers), group in groups.items():
        rate = rates[images, engine, num_workers]
        yield (
            f"| {images} | {engine} | {num_workers} | {rate:,.0f} | {rate / rates[images, 'local', 1]:.2f} "
            f"| {median(m.seconds_to_first_shard for m in group):.1f} s |"
        )


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch_scaling", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=ROOT / "bundles" / "cifar10-ksom-512")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--quick", action="store_true", help="a fourth of the images; nothing is written")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
