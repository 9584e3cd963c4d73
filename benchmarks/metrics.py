"""How often, how long and on how many images the model ran, by the server's own /metrics."""

import re
import urllib.request
from dataclasses import dataclass

from .client import HOST


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRuns:
    """Runs of the encoder, each of them on one batch."""

    num_runs: int
    num_images: int
    seconds: float
    """Of all of them together."""

    @property
    def mean_ms(self) -> float:
        """How long a run took, on average."""
        return self.seconds / self.num_runs * 1e3 if self.num_runs else float("nan")

    @property
    def mean_batch_size(self) -> float:
        """How many images a run had, on average."""
        return self.num_images / self.num_runs if self.num_runs else float("nan")

    def since(self, earlier: "ModelRuns") -> "ModelRuns":
        """The runs that came after `earlier`."""
        return ModelRuns(
            num_runs=self.num_runs - earlier.num_runs,
            num_images=self.num_images - earlier.num_images,
            seconds=self.seconds - earlier.seconds,
        )


def model_runs(port: int) -> ModelRuns:
    """All runs of the encoder so far in the server at `port`."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    return ModelRuns(
        num_runs=int(_total(text, "kohonen_batch_seconds_count")),
        num_images=int(_total(text, "kohonen_batch_size_sum")),
        seconds=_total(text, "kohonen_batch_seconds_sum"),
    )


def _total(text: str, series: str) -> float:
    lines = re.findall(rf'^{series}{{[^}}]*operation="encode"[^}}]*}} (\S+)$', text, flags=re.MULTILINE)
    return sum(map(float, lines))
