"""Things that go wrong, done to the real server over real sockets: what becomes of it, in figures.

    python -m benchmarks.faults [NAME ...]

Without names each fault in turn, which takes about a minute and a half and is written to benchmarks/results.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping

from ..machine import describe_machine, write_result
from ..processes import end_on_sigterm
from . import corrupt_bundle, provider_fails, worker_killed
from .outcome import Outcome, as_table

FAULTS: Mapping[str, Callable[[], Outcome]] = {
    "worker-killed": worker_killed.measure,
    "provider-fails": provider_fails.measure_failure,
    "provider-hangs": provider_fails.measure_hang,
    "corrupt-bundle": corrupt_bundle.measure,
}


def main() -> int:
    """Measure, print and, if all faults were measured, write; the status is 1 if a promise is broken."""
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
        outcomes[name] = FAULTS[name]()
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    table = as_table(outcomes)
    print(table)
    if set(names) == set(FAULTS):
        machine = describe_machine()
        report = f"{machine['device']}, {machine['date']}, load {machine['load_average'][0]:.1f}\n\n{table}"
        print(f"\nWritten: {write_result('faults', machine | {'faults': outcomes}, report=report)}")
    return 0 if all(outcome.is_met for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
