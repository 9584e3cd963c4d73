"""Metrics of several worker processes as one: each writes its own into files that all of them read and sum.

The files are prometheus_client's; a worker that takes a dead one's place goes on where that one stopped, so
that no counter goes back.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, ProcessCollector, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

_DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True, slots=True)
class SharedFiles:
    """Where one of several workers keeps its metrics."""

    directory: str
    worker: int

    def use(self) -> None:
        """Have every metric that is made from now on, in this process, live in these files."""
        # The library reads both where it makes a metric, and has no other switch.
        os.environ[_DIRECTORY_VARIABLE] = self.directory
        values.ValueClass = values.MultiProcessValue(lambda: self.worker)  # type: ignore[no-untyped-call]

    def sums(self) -> CollectorRegistry:
        """A registry that gives the sums over all workers."""
        registry = CollectorRegistry()
        registry.register(_Sums(Path(self.directory)))
        return registry


class _Sums(Collector):
    """The sums of what is in the files of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        # Not the library's own list, which has also what a worker that starts makes just now: nothing can be
        # read of a file that is still empty.
        files = [str(path) for path in self._directory.glob("*.db") if _has_content(path)]
        return cast(Iterable[Metric], MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False  # a gauge of a worker that has just died


def forget_gauges(directory: str, *, worker: int) -> None:
    """Take what a worker that is dead had at work out of the sums; what it has counted stays."""
    mark_process_dead(worker, path=directory)  # type: ignore[no-untyped-call]


class ProcessMetrics:
    """The usual metrics of a process (`process_*`), with a label that says which worker it is."""

    def __init__(self, worker: int) -> None:
        self._source = ProcessCollector(registry=None)
        self._metrics: dict[str, Counter | Gauge] = {}
        self._counted: dict[str, float] = {}
        for family in self._source.collect():
            metric = (
                Counter(family.name, family.documentation, ["worker"], registry=None)
                if family.type == "counter"
                else Gauge(
                    family.name, family.documentation, ["worker"], registry=None, multiprocess_mode="livesum"
                )
            )
            self._metrics[family.name] = metric.labels(worker)

    def refresh(self) -> None:
        """Read them anew."""
        for family in self._source.collect():
            value = family.samples[0].value
            metric = self._metrics[family.name]
            if isinstance(metric, Counter):
                metric.inc(value - self._counted.get(family.name, 0.0))
                self._counted[family.name] = value
            else:
                metric.set(value)
