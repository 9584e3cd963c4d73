"""What a finished run says in a table, and what its seeds say together.

R: runs of one condition, one a seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ..checkpoint import Validation
from .paper import Spread


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """The figures of one run; those of the paper's tables, and what the best validation said beside them."""

    seed: int
    loss: float
    """The least loss of all validations: the paper's measure."""
    best_step: int
    """The step of it."""
    steps_10: int
    """Steps to the first validation at or under 1.1 times this run's own least loss ("+10%")."""
    steps_20: int
    """The same for 1.2 times."""
    psnr: float
    """Of the best validation, dB."""
    perplexity: tuple[float, ...]
    """Of the best validation, over the whole set, by level in the order in which they are encoded."""
    codes_used: tuple[int, ...]
    """Of the best validation, by level."""


def run_result(validations: Sequence[Validation], *, seed: int) -> RunResult:
    """Judge a run by its validations, in the order of their steps. Raises ValueError if there are none."""
    if not validations:
        raise ValueError("no validations: a run has one at its last step")
    best = min(validations, key=lambda validation: validation.loss)
    return RunResult(
        seed=seed,
        loss=best.loss,
        best_step=best.step,
        steps_10=steps_to(validations, loss=1.1 * best.loss),
        steps_20=steps_to(validations, loss=1.2 * best.loss),
        psnr=best.psnr,
        perplexity=tuple(level.perplexity for level in best.levels.values()),
        codes_used=tuple(level.codes_used for level in best.levels.values()),
    )


def steps_to(validations: Sequence[Validation], *, loss: float) -> int:
    """Steps to the first validation at or under ``loss``."""
    return next(validation.step for validation in validations if validation.loss <= loss)


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (n - 1; nan for a single value) of the R runs."""
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return Spread(statistics.fmean(values), deviation)
