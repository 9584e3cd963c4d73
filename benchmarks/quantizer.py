"""The quantizer's step beside others at the same N, K, D: time, memory, and the aims, as JSON and Markdown.

    python -m benchmarks.quantizer [--device cuda]

The peer, vector-quantize-pytorch, is compared where it is installed:

    .uv/bin/uv pip install --python .venv -r benchmarks/quantizer-requirements.txt

N is that of a CIFAR-10 batch of 256 (16k), and of the top and bottom levels of a VQ-VAE-2 batch of 128.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import torch

from kohonen_tokenizer.training.device import torch_device

from .machine import write_result
from .peak_memory import peak_memory_mib
from .quantizer_methods import (
    CODE_DIM,
    EMA,
    EMA_WITHOUT_PRODUCT,
    GRID,
    KSOM,
    ON_ASSIGNMENTS,
    PEER,
    make_steps,
)
from .rounds import describe_clock, median_ratio, spread, time_by_turns
from .training_machine import describe_training_machine

# Vectors, and rounds: more of them where a step is short.
ROUNDS = {16_384: 61, 131_072: 15, 524_288: 5}
MAX_RATIO_TO_EMA = 1.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One method at one number of vectors."""

    num_vectors: int
    method: str
    median_ms: float
    least_ms: float
    spread: float
    """Distance of the quartiles of the times over their median."""
    times_ksom: float
    """Median over the rounds of this method's time over KSOM's."""
    peak_mib: float
    """Memory that a step adds at its peak."""


def main() -> None:
    """Measure, print and write."""
    arguments = _parse_arguments()
    device = torch_device(arguments.device)
    torch.set_num_threads(arguments.threads or torch.get_num_threads())
    rounds = {16_384: 3} if arguments.quick else ROUNDS
    measurements = [
        measurement for number in rounds for measurement in measure(number, rounds[number], device=device)
    ]
    machine = describe_training_machine(device)
    report = "\n".join(_report(machine, measurements, device=device))
    print(report)
    if not arguments.quick:
        content = {**machine, "code_dim": CODE_DIM, "codebook_size": GRID.size}
        content |= {"rounds": rounds, "measurements": [asdict(m) for m in measurements]}
        path = write_result("quantizer", content, device=machine["device"], report=report)
        print(f"\nWritten: {path}")


def measure(num_vectors: int, rounds: int, *, device: torch.device) -> Iterator[Measurement]:
    """All methods on the same vectors, drawn like the codebook."""
    torch.manual_seed(1)
    steps = make_steps(torch.randn(num_vectors, CODE_DIM, device=device))
    times_s = time_by_turns(steps, rounds=rounds, device=device)
    for method, step in steps.items():
        yield Measurement(
            num_vectors=num_vectors,
            method=method,
            median_ms=median(times_s[method]) * 1e3,
            least_ms=min(times_s[method]) * 1e3,
            spread=spread(times_s[method]),
            times_ksom=median_ratio(times_s[method], to=times_s[KSOM]),
            peak_mib=peak_memory_mib(step, device=device),
        )


def _report(
    machine: dict[str, object], measurements: Sequence[Measurement], *, device: torch.device
) -> Iterator[str]:
    yield "# The quantizer's step beside others\n"
    yield (
        f"`python -m benchmarks.quantizer` on {machine['device']}, {machine['date']}, load average "
        f"{machine['load_average']}: {machine['versions']}."
    )
    yield (
        f"K = {GRID.size}, D = {CODE_DIM}, float32. A step is the search, the update of the codebook and the "
        f"gradient to the encoder.\n\nTimes are {describe_clock(device)}, medians of rounds in which all "
        "take turns; ratios are taken within a round. Spread: distance of the quartiles over the median. "
        "Memory: what a step adds at its peak."
    )
    yield "\n| vectors | method | ms | least ms | spread | times KSOM | peak MiB |"
    yield "|---|---|---|---|---|---|---|"
    for m in measurements:
        yield (
            f"| {m.num_vectors:,} | {m.method} | {m.median_ms:,.1f} | {m.least_ms:,.1f} | {m.spread:.0%} "
            f"| {m.times_ksom:.2f} | {m.peak_mib:,.0f} |"
        )
    yield "\nAims:\n"
    yield from _aims({(m.num_vectors, m.method): m for m in measurements})


def _aims(by_method: dict[tuple[int, str], Measurement]) -> Iterator[str]:
    for number in dict.fromkeys(number for number, _ in by_method):
        ours = by_method[number, KSOM]
        for ema in (EMA, EMA_WITHOUT_PRODUCT):
            ratio = 1 / by_method[number, ema].times_ksom
            yield _aim(
                ratio <= MAX_RATIO_TO_EMA,
                f"{number:,}: at most {MAX_RATIO_TO_EMA:.2f} times {ema}: {ratio:.3f}",
            )
        for other in (PEER, ON_ASSIGNMENTS):
            if (peer := by_method.get((number, other))) is None:
                yield f"- not compared: {number:,}: {other}, which is not installed"
                continue
            yield _aim(
                peer.times_ksom > 1 and peer.peak_mib > ours.peak_mib,
                f"{number:,}: faster than {other} in less memory: {peer.times_ksom:.2f} times as fast, "
                f"{ours.peak_mib:,.0f} MiB instead of {peer.peak_mib:,.0f}",
            )


def _aim(is_met: bool, aim: str) -> str:
    return f"- {'met' if is_met else 'MISSED'}: {aim}"


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantizer", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="of the CPU; 1 is timed well on a busy machine")
    parser.add_argument("--quick", action="store_true", help="three rounds at 16k; nothing is written")
    return parser.parse_args()


if __name__ == "__main__":
    main()
