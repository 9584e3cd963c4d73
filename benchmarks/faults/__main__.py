"""Things that go wrong, done to the real server over real sockets: what becomes of it, in figures.

    python -m benchmarks.faults [NAME ...]

Without names each fault in turn, which takes about seven minutes and is written to benchmarks/results.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping

from ..machine import describe_machine, write_result
from ..processes import end_on_sigterm
from . import (
    clock_jumps,
    corrupt_bundle,
    descriptors,
    memory,
    provider_fails,
    slow_loris,
    vanishing_clients,
    worker_killed,
)
from .outcome import Outcome, UnmeasurableError, as_table

FAULTS: Mapping[str, Callable[[], Outcome]] = {
    "worker-killed": worker_killed.measure,
    "provider-fails": provider_fails.measure_failure,
    "provider-hangs": provider_fails.measure_hang,
    "corrupt-bundle": corrupt_bundle.measure,
    "descriptors": descriptors.measure,
    "descriptors-workers": descriptors.measure_workers,
    "memory": memory.measure,
    "memory-small": memory.measure_small,
    "memory-exceeded": memory.measure_exceeded,
    "vanishing-clients": vanishing_clients.measure,
    "slow-loris": slow_loris.measure,
    "clock-jumps": clock_jumps.measure,
}


def main() -> int:
    """Measure, print and, if all faults were measured, write; the status is 1 if not all is well."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(FAULTS)}")
    names = parser.parse_args().names or list(FAULTS)
    if unknown := set(names) - FAULTS.keys():
        parser.error(f"there is no fault {', '.join(sorted(unknown))}; choose from {', '.join(FAULTS)}")
    end_on_sigterm()
    outcomes = {}
    for name in names:
        started = time.monotonic()
        try:
            outcomes[name] = FAULTS[name]()
        except UnmeasurableError as error:
            print(f"{name}: not measured: {error}", file=sys.stderr, flush=True)
            continue
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    table = as_table(outcomes)
    print(table)
    if outcomes.keys() == FAULTS.keys():
        machine = describe_machine()
        report = f"{machine['device']}, {machine['date']}, load {machine['load_average'][0]:.1f}\n\n{table}"
        print(f"\nWritten: {write_result('faults', machine | {'faults': outcomes}, report=report)}")
    are_met = len(outcomes) == len(names) and all(outcome.is_met for outcome in outcomes.values())
    return 0 if are_met else 1


if __name__ == "__main__":
    sys.exit(main())
