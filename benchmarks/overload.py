"""Five times the capacity, for a minute: what becomes of the requests, and of the throughput.

    python -m benchmarks.overload

Requests come in an open loop, each of them with a deadline. Each that is sent must get its tokens, which are
checked, a 429 or a 504, and nothing else; tokens must come out at 90% of the peak measured before, or more.
The generator runs on the same cores: what it takes, and what refusals cost, is missing from the rate.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kohonen_tokenizer import Tokenizer

from .client import post
from .closed_loop import closed_loop
from .comparison import WARM_UP_S
from .machine import describe_machine, write_result
from .open_loop import OpenLoopResult, open_loop
from .processes import end_on_sigterm, usage
from .servers import ROOT, Started, all_servers, check, serving, wait_until_right
from .workloads import Name, Workload, make_workloads

OVERLOAD = 5
PEAK_S = 8
DEADLINE_S = 2.0
ALLOWED_STATUSES = frozenset({200, 429, 504})
LEAST_SHARE = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A way to ask for too much: requests at five times the rate, over at most so many connections."""

    workload: Name
    max_connections: int


SCENARIOS = (
    # Five times the connections that give the peak: all requests can wait, and none needs be refused.
    Scenario(workload="A", max_connections=5 * 64),
    # More than the service lets in, each of which asks again as soon as it is refused.
    Scenario(workload="A", max_connections=2000),
    Scenario(workload="B", max_connections=2000),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Overload:
    """One scenario, after its workload's peak."""

    scenario: Scenario
    peak_images_per_s: float
    images_per_s: float
    share: float
    """Of the peak."""
    rss_mib_before: float
    rss_mib_after: float
    open_loop: OpenLoopResult
    is_met: bool
    """Only allowed answers, all tokens right, and at least LEAST_SHARE of the peak."""


def main() -> int:
    """Measure, print and write; the status is 1 if an aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=ROOT / "bundles" / "cifar10-ksom-512")
    parser.add_argument("--seconds", type=float, default=60, help="of the overload (default: 60)")
    arguments = parser.parse_args()
    end_on_sigterm()
    workloads = make_workloads(Tokenizer.load(arguments.bundle))
    server = all_servers(arguments.bundle)[0]
    results = []
    with (
        tempfile.TemporaryDirectory() as logs,
        serving(server, bundle=arguments.bundle, log=Path(logs, "log")) as started,
    ):
        wait_until_right(started, workloads["A"])
        for scenario in SCENARIOS:
            workload = workloads[scenario.workload]
            results.append(_overload(started, workload, scenario=scenario, seconds=arguments.seconds))
    for result in results:
        print(_describe(result))
    content = describe_machine() | {"seconds": arguments.seconds, "results": results}
    print(f"Written: {write_result('overload', content)}")
    return 0 if all(result.is_met for result in results) else 1


def _overload(started: Started, workload: Workload, *, scenario: Scenario, seconds: float) -> Overload:
    path = started.server.paths[workload.name]
    bodies = check(started, workload)
    closed_loop(workload, port=started.port, path=path, seconds=WARM_UP_S)
    peak = closed_loop(workload, port=started.port, path=path, seconds=PEAK_S)
    headers = workload.headers | {"X-Timeout-S": str(DEADLINE_S)}
    before = usage(started.pid)
    opened = open_loop(
        [post(path, body, headers=headers) for body in workload.bodies],
        expected=bodies,
        port=started.port,
        rate=OVERLOAD * peak.rate,
        seconds=seconds,
        max_connections=scenario.max_connections,
    )
    share = opened.answers_per_s / peak.rate
    return Overload(
        scenario=scenario,
        peak_images_per_s=peak.rate * workload.images_per_request,
        images_per_s=share * peak.rate * workload.images_per_request,
        share=share,
        rss_mib_before=before.rss_mib,
        rss_mib_after=usage(started.pid).rss_mib,
        open_loop=opened,
        is_met=set(opened.statuses) <= ALLOWED_STATUSES and not opened.num_wrong and share >= LEAST_SHARE,
    )


def _describe(result: Overload) -> str:
    opened, scenario = result.open_loop, result.scenario
    lines = [
        f"{scenario.workload}, at most {scenario.max_connections} connections: "
        f"{'met' if result.is_met else 'MISSED'}: {result.images_per_s:,.0f} images/s, {result.share:.0%} of "
        f"the peak of {result.peak_images_per_s:,.0f}",
        f"{opened.rate:,.0f} requests/s were due: statuses {opened.statuses}, {opened.num_wrong} wrong, "
        f"{opened.num_resent} sent twice, {opened.num_unsent} unsent",
        f"memory {result.rss_mib_before:.0f} -> {result.rss_mib_after:.0f} MiB; "
        f"the generator took {opened.cpu_us_per_request:.0f} us of CPU a request",
    ]
    if not opened.num_unsent:
        # Else most of the time was spent in the generator, where requests waited for a connection.
        lines.append(f"tokens came after {opened.p50_ms:.0f} ms (p50), {opened.p99_ms:.0f} ms (p99)")
    return "\n  ".join(lines)


if __name__ == "__main__":
    sys.exit(main())
