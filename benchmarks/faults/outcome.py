"""What a fault did, as figures and as promises that were kept or not."""

from collections.abc import Mapping
from dataclasses import dataclass


class UnmeasurableError(Exception):
    """This machine lacks what the fault needs; the message says what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One fault, measured."""

    fault: str
    """What was done, in a few words."""
    figures: Mapping[str, float | int | str]
    """What was measured, by its name with its unit."""
    promises: Mapping[str, bool]
    """What must hold, and whether it did."""
    requests: Mapping[int, int]
    """Requests under way meanwhile, by status; 0 is no reply."""

    @property
    def is_met(self) -> bool:
        """Whether every promise was kept."""
        return all(self.promises.values())


def as_table(outcomes: Mapping[str, Outcome]) -> str:
    """The outcomes by name, as a table in Markdown and a list of what was not kept."""
    lines = ["| fault | figures | requests meanwhile |", "|---|---|---|"]
    for name, outcome in outcomes.items():
        figures = "; ".join(f"{what} {value}" for what, value in outcome.figures.items())
        requests = ", ".join(f"{count:,} x {status}" for status, count in outcome.requests.items())
        lines.append(f"| `{name}`: {outcome.fault} | {figures} | {requests} |")
    lines += [""]
    for name, outcome in outcomes.items():
        lines += [
            f"- {'kept' if is_kept else 'BROKEN'}: {name}: {promise}"
            for promise, is_kept in outcome.promises.items()
        ]
    return "\n".join(lines)
