"""A comparison as tables in Markdown, and the aims it is judged by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .comparison import OPEN_LOOP_SHARE, OPEN_LOOP_WORKLOAD, Comparison, Measurement
from .metrics import ModelRuns
from .open_loop import OpenLoopResult
from .workloads import Name, Workload

OURS = "ours"
# Of the ceiling.
RATIO_AIMS: Mapping[Name, float] = {"A": 0.80, "B": 0.95, "C": 0.95}
P99_AIM = "2 x the mean time of a batch + 5 ms"


@dataclass(frozen=True, kw_only=True, slots=True)
class Aim:
    """Something to reach, and what was reached."""

    aim: str
    measured: str
    is_met: bool


def format_report(comparison: Comparison, *, workloads: Mapping[Name, Workload]) -> str:
    """The tables and the aims, as text."""
    lines = [line for name in workloads for line in _workload_table(comparison, workloads[name])]
    lines += _open_loop_table(comparison)
    others = [m.others_share for m in comparison.measurements]
    if others:
        lines += [
            f"\nOther processes took {median(others):.0%} of the machine's CPU time on the median, and "
            f"{max(others):.0%} at most; on a machine at rest that is near 0."
        ]
    lines += ["", "Aims:"]
    lines += [
        f"- {'met' if aim.is_met else 'MISSED'}: {aim.aim}: {aim.measured}" for aim in judge(comparison)
    ]
    lines += [f"\nFAILED: {failure.server}: {failure.message}" for failure in comparison.failures]
    return "\n".join(lines)


def judge(comparison: Comparison) -> list[Aim]:
    """Each aim, with what our service reached; none where it was not measured."""
    aims = []
    for name, ratio_aim in RATIO_AIMS.items():
        rates = _medians(comparison, name)
        if OURS not in rates:
            continue
        ratio = median(m.ratio for m in _of(comparison, name, server=OURS))
        aims.append(
            Aim(
                aim=f"{name}: {ratio_aim:.0%} of the ceiling or more",
                measured=f"{ratio:.1%}",
                is_met=ratio >= ratio_aim,
            )
        )
        peers = {server: rate for server, rate in rates.items() if not server.startswith(OURS)}
        if peers:
            best = max(peers, key=peers.__getitem__)
            aims.append(
                Aim(
                    aim=f"{name}: first among the peers",
                    measured=f"{rates[OURS]:,.0f} images/s, and {best} {peers[best]:,.0f}",
                    is_met=rates[OURS] > peers[best],
                )
            )
    opened = [m for m in _of(comparison, OPEN_LOOP_WORKLOAD, server=OURS) if m.open_loop and m.runs]
    if opened:
        p99 = median(m.open_loop.p99_ms for m in opened if m.open_loop)
        limit = median(_p99_limit_ms(m.runs) for m in opened if m.runs)
        aims.append(
            Aim(
                aim=f"{OPEN_LOOP_WORKLOAD}: p99 at {OPEN_LOOP_SHARE:.0%} load under {P99_AIM}",
                measured=f"{p99:.1f} ms, and that limit is {limit:.1f} ms",
                is_met=p99 < limit,
            )
        )
    return aims


def _p99_limit_ms(runs: ModelRuns) -> float:
    return 2 * runs.mean_ms + 5


def _workload_table(comparison: Comparison, workload: Workload) -> Iterator[str]:
    name = workload.name
    measured_as = "A" if name == "A-npy" else name
    ceilings = [ceiling for ceiling in comparison.ceilings if ceiling.workload == measured_as]
    rates = [ceiling.images_per_s for ceiling in ceilings]
    yield f"\n## {name}: {workload.title}, {workload.concurrency} connections\n"
    yield (
        f"Ceiling in process: {_spread(rates, ',.0f')} images/s ({ceilings[0].configuration}). Medians of "
        f"{len(rates)} rounds, (least-most).\n"
    )
    yield "| server | images/s | of the ceiling | p50 ms | p99 ms | CPU us/request | of the generator |"
    yield "|---|---|---|---|---|---|---|"
    for server, _ in sorted(_medians(comparison, name).items(), key=lambda item: -item[1]):
        rows = _of(comparison, name, server=server)
        yield (
            f"| {server} | {_spread([m.images_per_s for m in rows], ',.0f')} "
            f"| {_spread([m.ratio for m in rows], '.2f')} "
            f"| {median(m.closed_loop.p50_ms for m in rows):.1f} "
            f"| {median(m.closed_loop.p99_ms for m in rows):.1f} "
            f"| {median(m.server_cpu_us_per_request for m in rows):,.0f} "
            f"| {median(m.closed_loop.cpu_us_per_request for m in rows):.0f} |"
        )
    for generator in comparison.generators:
        if generator.workload == name:
            closed = generator.closed_loop
            yield (
                f"| a static reply | {closed.rate * workload.images_per_request:,.0f} | "
                f"| {closed.p50_ms:.1f} | {closed.p99_ms:.1f} | | {closed.cpu_us_per_request:.0f} |"
            )


def _open_loop_table(comparison: Comparison) -> Iterator[str]:
    yield f"\n## {OPEN_LOOP_WORKLOAD} at {OPEN_LOOP_SHARE:.0%} of each server's own rate, open loop\n"
    yield (
        "| server | requests/s | p50 ms | p99 ms | mean batch | its ms | p99 aim ms "
        "| sent late, p99 ms | CPU us of the generator |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    results: dict[str, list[tuple[OpenLoopResult, ModelRuns | None]]] = {}
    for generator in comparison.generators:
        if generator.workload == OPEN_LOOP_WORKLOAD:
            results["a static reply"] = [(generator.open_loop, None)]
    for m in comparison.measurements:
        if m.open_loop is not None:
            results.setdefault(m.server, []).append((m.open_loop, m.runs))
    for server, rows in results.items():
        runs = [run for _, run in rows if run is not None]
        batches = (
            f"{median(run.mean_batch_size for run in runs):.1f} | {median(run.mean_ms for run in runs):.1f} "
            f"| {median(_p99_limit_ms(run) for run in runs):.1f}"
            if runs
            else " | | "
        )
        yield (
            f"| {server} | {median(opened.answers_per_s for opened, _ in rows):,.0f} "
            f"| {median(opened.p50_ms for opened, _ in rows):.1f} "
            f"| {_spread([opened.p99_ms for opened, _ in rows], '.1f')} | {batches} "
            f"| {median(opened.late_p99_ms for opened, _ in rows):.1f} "
            f"| {median(opened.cpu_us_per_request for opened, _ in rows):.0f} |"
        )


def _of(comparison: Comparison, name: Name, *, server: str) -> list[Measurement]:
    return [m for m in comparison.measurements if m.workload == name and m.server == server]


def _medians(comparison: Comparison, name: Name) -> dict[str, float]:
    """Images a second of each server."""
    servers = dict.fromkeys(m.server for m in comparison.measurements if m.workload == name)
    return {
        server: median(m.images_per_s for m in _of(comparison, name, server=server)) for server in servers
    }


def _spread(values: Sequence[float], spec: str) -> str:
    return f"{median(values):{spec}} ({min(values):{spec}}-{max(values):{spec}})"
