"""The stages that a request went through, noted down for whoever traces it, and for nobody else."""

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from ..batching.work import Work


@dataclass(frozen=True, slots=True)
class StageTime:
    """When one stage of a request took place, in nanoseconds since 1970, and what else is known of it."""

    name: str
    start_ns: int
    end_ns: int
    sizes: Mapping[str, int] = field(default_factory=dict)


# The stages of the request that this context serves; None where nobody asks for them.
recorded_stages: ContextVar[list[StageTime] | None] = ContextVar("recorded_stages", default=None)


def stage_that_ends_now(name: str, *, seconds: float) -> StageTime:
    """A stage that took `seconds` until now."""
    end_ns = time.time_ns()
    return StageTime(name, end_ns - _nanoseconds(seconds), end_ns)


def stages_of_work(work: Work) -> tuple[StageTime, StageTime]:
    """The wait of `work`, which is done, for the model, and its time in it."""
    # `work` counts by a clock that knows no date.
    run_ns = time.time_ns() - _nanoseconds(time.monotonic() - work.since)
    sizes = {"images": work.num_rows, "batch_size": work.batch_size}
    return (
        StageTime("queue", run_ns - _nanoseconds(work.queue_s), run_ns),
        StageTime("infer", run_ns, run_ns + _nanoseconds(work.infer_s), sizes),
    )


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
