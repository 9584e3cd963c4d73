"""What one run of the benchmark measures, and how."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .ceiling import Ceiling
from .closed_loop import ClosedLoopResult, closed_loop
from .metrics import ModelRuns, model_runs
from .open_loop import OpenLoopResult, open_loop
from .processes import Machine, usage
from .servers import Server, Started, check, requests_of, serving, static_server, wait_until_right
from .static_server import BODY
from .workloads import Name, Workload

WARM_UP_S = 1.0
OPEN_LOOP_WORKLOAD: Name = "A"
# The open loop's rate, as a share of what the server reached in the closed loop just before.
OPEN_LOOP_SHARE = 0.8
# What is asked of the open loop's generator to show that it is not the limit.
GENERATOR_RATE = 5000.0
_LOG_CHARACTERS = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class CeilingRate:
    """The ceiling of a workload in one round."""

    workload: Name
    configuration: str
    images_per_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorRate:
    """What the generators reach against a server that does nothing."""

    workload: Name
    closed_loop: ClosedLoopResult
    open_loop: OpenLoopResult


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One server under one workload in one round."""

    server: str
    workload: Name
    images_per_s: float
    ratio: float
    """Of `images_per_s` to the ceiling of the same round."""
    server_cpu_us_per_request: float
    others_share: float
    """Of the machine's CPU time during the closed loop, what neither the server nor the generator used."""
    closed_loop: ClosedLoopResult
    open_loop: OpenLoopResult | None
    runs: ModelRuns | None
    """The model's runs during the open loop, where the server tells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A server that did not start, gave a wrong answer, or refused."""

    server: str
    message: str
    log: str
    """The end of what it printed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All that was measured, in the order in which it was."""

    generators: list[GeneratorRate]
    ceilings: list[CeilingRate]
    measurements: list[Measurement]
    failures: list[Failure]


def compare(
    servers: Sequence[Server],
    *,
    workloads: Mapping[Name, Workload],
    bundle: Path,
    seconds: float,
    rounds: int,
    logs: Path,
) -> Comparison:
    """Measure the ceiling and each of `servers` once a round, one after the other, each alone on the machine.

    Args:
        seconds: of one measurement.
        logs: a folder for what the servers print.
    """
    result = Comparison(
        generators=_measure_generators(workloads, seconds=seconds, logs=logs),
        ceilings=[],
        measurements=[],
        failures=[],
    )
    ceiling = Ceiling(bundle / "encoder.onnx")
    # The two workloads of small JPEGs differ in the reply only, which no ceiling has.
    to_measure = [workload for name, workload in workloads.items() if name != "A-npy"]
    best = {w.name: ceiling.find_best(w, seconds=min(1.0, seconds / 4)) for w in to_measure}
    for round_number in range(1, rounds + 1):
        rates = {w.name: ceiling.measure(w, using=best[w.name], seconds=seconds) for w in to_measure}
        rates["A-npy"] = rates["A"]
        result.ceilings.extend(
            CeilingRate(workload=name, configuration=str(best[name]), images_per_s=rates[name])
            for name in best
        )
        for server in servers:
            print(f"round {round_number} of {rounds}: {server.name}", file=sys.stderr, flush=True)
            log = logs / f"{server.name} {round_number}"
            try:
                with serving(server, bundle=bundle, log=log) as started:
                    wait_until_right(started, workloads["A"])
                    for name in server.paths:
                        result.measurements.append(
                            _measure(started, workloads[name], ceiling=rates[name], seconds=seconds)
                        )
            except (RuntimeError, OSError) as error:
                tail = log.read_text(errors="replace")[-_LOG_CHARACTERS:]
                result.failures.append(Failure(server=server.name, message=str(error), log=tail))
    return result


def _measure(started: Started, workload: Workload, *, ceiling: float, seconds: float) -> Measurement:
    """Check the answers, warm up, measure the closed loop, and the open loop for the workload that has one.

    Raises:
        RuntimeError: an answer is wrong, missing, or an error.
    """
    server, path = started.server, started.server.paths[workload.name]
    bodies = check(started, workload)
    closed_loop(workload, port=started.port, path=path, seconds=WARM_UP_S)
    cpu_before_s = usage(started.pid).cpu_s
    machine = Machine()
    closed = closed_loop(workload, port=started.port, path=path, seconds=seconds)
    cpu_s = usage(started.pid).cpu_s - cpu_before_s
    others_share = machine.others_share(cpu_s + closed.cpu_us_per_request * closed.num_requests / 1e6)
    if closed.num_not_2xx or closed.num_broken:
        raise RuntimeError(
            f"{workload.name}: of {closed.num_requests} requests {closed.num_not_2xx} were refused and "
            f"{closed.num_broken} broke off"
        )
    opened = runs = None
    if workload.name == OPEN_LOOP_WORKLOAD:
        runs_before = model_runs(started.port) if server.has_metrics else None
        opened = open_loop(
            requests_of(server, workload),
            expected=bodies,
            port=started.port,
            rate=OPEN_LOOP_SHARE * closed.rate,
            seconds=seconds,
        )
        if runs_before is not None:
            runs = model_runs(started.port).since(runs_before)
        if opened.num_wrong or opened.num_unsent or set(opened.statuses) != {200}:
            raise RuntimeError(f"open loop: {opened.num_wrong} wrong answers, statuses {opened.statuses}")
    images_per_s = closed.rate * workload.images_per_request
    return Measurement(
        server=server.name,
        workload=workload.name,
        images_per_s=images_per_s,
        ratio=images_per_s / ceiling,
        server_cpu_us_per_request=cpu_s / closed.num_requests * 1e6,
        others_share=others_share,
        closed_loop=closed,
        open_loop=opened,
        runs=runs,
    )


def _measure_generators(
    workloads: Mapping[Name, Workload], *, seconds: float, logs: Path
) -> list[GeneratorRate]:
    server = static_server()
    with serving(server, bundle=Path(), log=logs / server.name) as started:
        rates = []
        for name, path in server.paths.items():
            requests = requests_of(server, workloads[name])
            rates.append(
                GeneratorRate(
                    workload=name,
                    closed_loop=closed_loop(workloads[name], port=started.port, path=path, seconds=seconds),
                    open_loop=open_loop(
                        requests,
                        expected=[BODY] * len(requests),
                        port=started.port,
                        rate=GENERATOR_RATE,
                        seconds=seconds,
                    ),
                )
            )
    return rates
