"""Whole training steps by speed option, with the share of the device's measured peak and the losses.

    python -m benchmarks.training [--device cuda] [--batch-size 256]

All options start from the same seed, see the same photographs, and take turns step by step. The first step
of each, in which torch.compile works, is not timed.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from kohonen_tokenizer.training.cli import find_recipe
from kohonen_tokenizer.training.config import RunConfig
from kohonen_tokenizer.training.data import ImageSplits
from kohonen_tokenizer.training.device import torch_device
from kohonen_tokenizer.training.speed import SpeedConfig
from kohonen_tokenizer.training.trainer import Trainer

from .machine import write_result
from .rounds import describe_clock, median_ratio, spread, time_by_turns
from .training_machine import describe_training_machine

RECIPE = "cifar10-ksom"
NUM_IMAGES = 2048
PEAK_ROUNDS = 7

PLAIN = "as torch has it"
DEFAULT = "channels-last, fused AdamW (the default)"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """A way to compute a step."""

    speed: SpeedConfig = field(default_factory=SpeedConfig)
    channels_last: bool = True
    fused_optimizer: bool = True


OPTIONS: Mapping[str, Option] = {
    PLAIN: Option(channels_last=False, fused_optimizer=False),
    "channels-last": Option(fused_optimizer=False),
    DEFAULT: Option(),
    "default, compiled": Option(speed=SpeedConfig(compile=True)),
    "default, bfloat16": Option(speed=SpeedConfig(precision="bfloat16")),
    "default, bfloat16, compiled": Option(speed=SpeedConfig(precision="bfloat16", compile=True)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One option."""

    option: str
    steps_per_s: float
    spread: float
    """Distance of the quartiles of the times over their median."""
    speed_up: float
    """Median over the rounds of the plain step's time over this one's."""
    share_of_peak: float
    """Of the device's measured peak at this precision."""
    losses: list[float]
    """Reconstruction loss of every step."""
    largest_difference: float
    """Of a loss from the plain step's, relative to it."""


def main() -> None:
    """Measure, print and write."""
    arguments = _parse_arguments()
    device = torch_device(arguments.device)
    torch.set_num_threads(arguments.threads or torch.get_num_threads())
    config = RunConfig.from_toml(find_recipe(RECIPE)).with_changes(batch_size=arguments.batch_size)
    peaks = measure_peaks(device)
    measurements = measure(config, peaks=peaks, rounds=arguments.steps - 1, device=device)
    machine = describe_training_machine(device)
    report = "\n".join(_report(machine, measurements, config=config, peaks=peaks, device=device))
    print(report)
    content = {**machine, "config": config.to_dict(), "peak_flops_per_s": peaks}
    content |= {"clock": describe_clock(device), "measurements": [asdict(m) for m in measurements]}
    path = write_result("training", content, device=machine["device"], report=report)
    print(f"\nWritten: {path}")


def measure_peaks(device: torch.device) -> dict[str, float]:
    """Floating-point operations a second of the better of a large product and a convolution, by precision."""
    peaks = {}
    for name, dtype in DTYPES.items():
        side = 2048 if device.type == "cpu" else 8192
        a = torch.randn(side, side, device=device, dtype=dtype)
        images = torch.randn(64, 128, 32, 32, device=device, dtype=dtype).to(
            memory_format=torch.channels_last
        )
        weight = torch.randn(128, 128, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        calls = {"product": lambda a=a: a @ a, "convolution": lambda x=images, w=weight: F.conv2d(x, w)}
        times_s = time_by_turns(calls, rounds=PEAK_ROUNDS, device=device)
        peaks[name] = max(_flops(calls[call]) / min(times) for call, times in times_s.items())
    return peaks


def measure(
    config: RunConfig, *, peaks: Mapping[str, float], rounds: int, device: torch.device
) -> list[Measurement]:
    """All options, each a run of its own from the same seed."""
    images = photographs(NUM_IMAGES)
    trainers = {name: _trainer(config, option, images, device=device) for name, option in OPTIONS.items()}
    flops = _flops(_trainer(config, Option(), images, device=device).step)
    losses: dict[str, list[torch.Tensor]] = {name: [] for name in trainers}

    def step(name: str) -> None:
        losses[name].append(trainers[name].step().reconstruction_loss)

    steps = {name: lambda name=name: step(name) for name in trainers}
    times_s = time_by_turns(steps, rounds=rounds, device=device)
    curves = {name: torch.stack(values).double().cpu() for name, values in losses.items()}
    return [
        Measurement(
            option=name,
            steps_per_s=1 / median(times_s[name]),
            spread=spread(times_s[name]),
            speed_up=median_ratio(times_s[PLAIN], to=times_s[name]),
            share_of_peak=flops / median(times_s[name]) / peaks[option.speed.precision],
            losses=curves[name].tolist(),
            largest_difference=float((curves[name] / curves[PLAIN] - 1).abs().max()),
        )
        for name, option in OPTIONS.items()
    ]


def photographs(count: int) -> ImageSplits:
    """Crops of 32 by 32 pixels of scikit-learn's two photographs."""
    generator = np.random.default_rng(0)
    photos = load_sample_images().images
    crops = []
    for number in range(count):
        photo = photos[number % len(photos)]
        y, x = (generator.integers(0, side - 32) for side in photo.shape[:2])
        crops.append(photo[y : y + 32, x : x + 32])
    pixels = torch.from_numpy(np.stack(crops))
    return ImageSplits(train=pixels, validation=pixels[:1], test=None)


def _trainer(config: RunConfig, option: Option, images: ImageSplits, *, device: torch.device) -> Trainer:
    trainer = Trainer(replace(config, speed=option.speed), images, device=device)
    if not option.channels_last:
        model = trainer.model.to(memory_format=torch.contiguous_format)
        normalize = model.normalize
        # Pixels come with their channels last, and convolutions keep what they get.
        model.normalize = lambda pixels: normalize(pixels).contiguous()  # type: ignore[method-assign]
    for group in trainer.optimizer.param_groups:
        group["fused"] = option.fused_optimizer
    return trainer


def _flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the products and convolutions in ``call``."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def _report(
    machine: dict[str, object],
    measurements: Sequence[Measurement],
    *,
    config: RunConfig,
    peaks: Mapping[str, float],
    device: torch.device,
) -> Iterator[str]:
    steps = len(measurements[0].losses)
    yield "# Training steps by speed option\n"
    yield (
        f"`python -m benchmarks.training` on {machine['device']}, {machine['date']}, load average "
        f"{machine['load_average']}: {machine['versions']}."
    )
    yield (
        f"The model and the map of {RECIPE}, {config.batch_size} images a step, {steps} steps on crops of "
        f"photographs. Times are {describe_clock(device)}, medians of rounds in which all take turns. "
        f"Measured peak: {', '.join(f'{name} {peak / 1e9:,.0f} GFLOP/s' for name, peak in peaks.items())}. "
        "Spread: distance of the quartiles over the median."
    )
    yield "\n| option | steps/s | images/s | spread | speed-up | of the peak | last loss | off by at most |"
    yield "|---|---|---|---|---|---|---|---|"
    for m in measurements:
        yield (
            f"| {m.option} | {m.steps_per_s:.2f} | {m.steps_per_s * config.batch_size:,.0f} | {m.spread:.0%} "
            f"| {m.speed_up:.2f} | {m.share_of_peak:.0%} | {m.losses[-1]:.4f} | {m.largest_difference:.1e} |"
        )


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--batch-size", type=int, help="images a step, instead of the recipe's 256")
    parser.add_argument("--steps", type=int, default=30, help="of each option (default: 30)")
    parser.add_argument("--threads", type=int, help="of the CPU; 1 is timed well on a busy machine")
    return parser.parse_args()


if __name__ == "__main__":
    main()
