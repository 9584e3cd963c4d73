"""Timing by turns: what slows the machine down for a while slows all alike, and ratios are of one round."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles

import torch


def time_by_turns(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each call in each round, after one call of each that is not timed.

    Every other round goes backward, so that nobody always comes after the same one. On one thread of a CPU
    it is the processor's time, which other processes take little of; else it is the time that passes.
    """
    clock = time.process_time if _is_processor_time(device) else time.perf_counter
    for call in calls.values():
        call()
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls) if number % 2 == 0 else reversed(list(calls)):
            _synchronize(device)
            started = clock()
            calls[name]()
            _synchronize(device)
            times_s[name].append(clock() - started)
    return times_s


def describe_clock(device: torch.device) -> str:
    """What the times are of, in words."""
    return "the processor's, of one thread" if _is_processor_time(device) else "those that passed"


def _is_processor_time(device: torch.device) -> bool:
    return device.type == "cpu" and torch.get_num_threads() == 1


def median_ratio(times_s: Sequence[float], to: Sequence[float]) -> float:
    """The median over the rounds of the ratio of two calls' times."""
    return median(this / that for this, that in zip(times_s, to, strict=True))


def spread(times_s: Sequence[float]) -> float:
    """Distance of the quartiles over the median: 0 on a machine at rest."""
    low, middle, high = quantiles(times_s, n=4)
    return (high - low) / middle


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
