"""The service beside its in-process ceiling and its peers: a table, and JSON in benchmarks/results/.

    python -m benchmarks.service

Every server gives the same tokens to the same requests, which is checked before any is timed. In each round
the ceiling and the servers are measured one after the other, each alone on the machine, and a ratio is taken
within a round: what slows the machine down for a while slows both. The peers get an environment of their own.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from kohonen_tokenizer import Tokenizer

from .comparison import compare
from .machine import describe_machine, peer_versions, write_result
from .peer_environment import PEERS_VENV, install_peers
from .processes import end_on_sigterm
from .report import format_report, judge
from .servers import ROOT, Server, all_servers
from .workloads import make_workloads


def main() -> int:
    """Measure, print and write; the status is 1 if a server failed."""
    end_on_sigterm()
    arguments = _parse_arguments()
    if shutil.which("wrk") is None:
        sys.exit("error: wrk is not installed; it is in Debian's package wrk and in Homebrew")
    servers = _select(all_servers(arguments.bundle), only=arguments.only)
    if any(server.is_peer for server in servers):
        install_peers()
    workloads = make_workloads(Tokenizer.load(arguments.bundle))
    with tempfile.TemporaryDirectory() as logs:
        comparison = compare(
            servers,
            workloads=workloads,
            bundle=arguments.bundle,
            seconds=1 if arguments.quick else arguments.seconds,
            rounds=1 if arguments.quick else arguments.rounds,
            logs=Path(logs),
        )
    print(format_report(comparison, workloads=workloads))
    if not arguments.quick:
        content = {
            **describe_machine(),
            "peers": peer_versions(PEERS_VENV),
            "seconds": arguments.seconds,
            "rounds": arguments.rounds,
            "aims": judge(comparison),
            **asdict(comparison),
        }
        print(f"\nWritten: {write_result('service', content)}")
    return 1 if comparison.failures else 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=ROOT / "bundles" / "cifar10-ksom-512")
    parser.add_argument("--only", help="names of servers, with commas between; by default all")
    parser.add_argument("--seconds", type=float, default=8, help="of one measurement (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--quick", action="store_true", help="one round of a second each; nothing is written")
    return parser.parse_args()


def _select(servers: Sequence[Server], *, only: str | None) -> list[Server]:
    if only is None:
        return list(servers)
    names = {name.strip().lower() for name in only.split(",")}
    known = {server.name.lower() for server in servers}
    if not names <= known:
        sys.exit(f"error: --only {', '.join(names - known)}: there are {', '.join(sorted(known))}")
    return [server for server in servers if server.name.lower() in names]


if __name__ == "__main__":
    sys.exit(main())
