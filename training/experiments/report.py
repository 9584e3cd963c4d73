"""An experiment's table, as CSV (a run a line) and as Markdown (a condition a line, beside the paper)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields

from ..config import RunConfig
from .paper import LOSS_SCALE, STEPS, Dataset, Row, Spread, Table
from .results import RunResult, spread

Results = Mapping[str, Sequence[RunResult]]
"""By the condition's name: one result a seed."""


def as_csv(table: Table, results: Results) -> str:
    """One line a run: the row's labels, the seed and the run's figures, unscaled."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*table.columns, *(column.name for column in fields(RunResult))])
    for row in table.rows:
        for result in results[row.condition.name]:
            writer.writerow([*row.labels, *map(_csv_cell, asdict(result).values())])
    return file.getvalue()


def as_markdown(
    table: Table, results: Results, *, config: RunConfig, dataset: Dataset, made_with: str
) -> str:
    """Means and deviations over the seeds, each beside the paper's for ``dataset`` where it prints one.

    ``made_with`` says with which device, date and versions; ``config`` is that of any of the runs.
    """
    scale = LOSS_SCALE[dataset]
    digits = round(math.log10(scale))
    heads = [*table.columns, f"loss x 10^{digits}", "paper", "steps to +10%", "paper"]
    if table.has_steps_20:
        heads += ["steps to +20%", "paper"]
    heads += ["PSNR, dB", "codes used"]
    num_seeds = min(len(results[row.condition.name]) for row in table.rows)
    lines = [
        f"## {table.title}",
        "",
        f"{what_ran(config, num_seeds=num_seeds)}, validated every {config.validate_every:,} steps "
        f"({made_with}). Mean and sample standard deviation over seeds; a run's loss is its least validation "
        f"loss, and its steps are counted to the first validation within 10% or 20% of that.",
        "",
        *table_lines(
            heads, [_cells(table, row, results, scale=scale, dataset=dataset) for row in table.rows]
        ),
    ]
    if config.steps < STEPS:
        lines.insert(
            4,
            f"A partial reproduction: the paper trains for {STEPS:,} steps, so its figures are no aim here.",
        )
        lines.insert(5, "")
    return "\n".join(lines) + "\n"


def what_ran(config: RunConfig, *, num_seeds: int) -> str:
    """Data, length and seeds of the runs of a table."""
    seeds = f"{num_seeds} {'seed' if num_seeds == 1 else 'seeds'}"
    return f"{config.data.name}, {config.steps:,} steps of {config.batch_size} images, {seeds}"


def table_lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(cells)} |" for cells in rows),
    ]


def _cells(table: Table, row: Row, results: Results, *, scale: float, dataset: Dataset) -> list[str]:
    runs = results[row.condition.name]
    printed = row.printed.get(dataset)
    cells = [
        *row.labels,
        as_plus_minus(spread([run.loss * scale for run in runs])),
        as_plus_minus(printed.loss) if printed else "",
        as_plus_minus(spread([run.steps_10 for run in runs]), digits=0),
        _thousands(printed.steps_10) if printed else "",
    ]
    if table.has_steps_20:
        cells += [
            as_plus_minus(spread([run.steps_20 for run in runs]), digits=0),
            _thousands(printed.steps_20) if printed and printed.steps_20 else "",
        ]
    return [
        *cells,
        as_plus_minus(spread([run.psnr for run in runs])),
        " / ".join(
            as_plus_minus(spread(used), digits=0)
            for used in zip(*(run.codes_used for run in runs), strict=True)
        ),
    ]


def _csv_cell(value: object) -> object:
    """Values of several levels are divided by semicolons."""
    return ";".join(map(str, value)) if isinstance(value, tuple) else value


def as_plus_minus(value: Spread, *, digits: int = 1) -> str:
    """Mean ± deviation, or the mean alone where there is no deviation."""
    mean = f"{value.mean:,.{digits}f}"
    return mean if math.isnan(value.std) else f"{mean} ± {value.std:,.{digits}f}"


def _thousands(steps: Spread) -> str:
    return as_plus_minus(Spread(steps.mean * 1000, steps.std * 1000), digits=0)
