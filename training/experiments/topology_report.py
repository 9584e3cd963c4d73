"""How well the maps of finished runs keep their order, and what it costs: an evaluation a run, kept there."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from kohonen_tokenizer.atomic_file import write_atomically

from ..config import RunConfig
from ..evaluation import evaluate
from .paper import Row, Table
from .report import as_plus_minus, table_lines, what_ran
from .results import spread
from .runs import Run

FILE = "topology.json"
"""In a run's folder: its evaluation on the validation images."""

Evaluations = Mapping[str, Sequence[dict[str, Any]]]
"""By the condition's name: the fields of ``Evaluation``, one a seed."""


def evaluate_runs(runs: Sequence[Run], pixels: Tensor, *, device: str) -> Evaluations:
    """Judge the last checkpoint of each of ``runs`` on ``pixels`` uint8 [N, H, W, 3].

    What is kept of the same weights and images is used.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    # Not a copy: they may be a file larger than memory.
    images_sha256 = hashlib.sha256(pixels.numpy().data).hexdigest()
    for one in runs:
        checkpoint, file = one.checkpoint(), one.out / FILE
        of = {"checkpoint_sha256": checkpoint.weights_sha256, "images_sha256": images_sha256}
        kept = json.loads(file.read_bytes()) if file.is_file() else {}
        if not of.items() <= kept.items():
            evaluation = evaluate(checkpoint, pixels, split="validation", device=torch.device(device))
            fields = {"seed": one.config.seed, "images_sha256": images_sha256, **asdict(evaluation)}
            write_atomically(file, json.dumps(fields, indent=2, allow_nan=False).encode() + b"\n")
            kept = json.loads(file.read_bytes())
        found.setdefault(one.condition.name, []).append(kept)
    return found


def as_csv(table: Table, evaluations: Evaluations) -> str:
    """One line a run and level: the row's labels, the seed and the figures; empty where there is none."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*table.columns, "seed", "level", *_HEADS])
    writer.writerows(
        [*row.labels, values["seed"], level, *_figures(values, level).values()]
        for row in table.rows
        for values in evaluations[row.condition.name]
        for level in values["levels"]
    )
    return file.getvalue()


def as_markdown(table: Table, evaluations: Evaluations, *, config: RunConfig, made_with: str) -> str:
    """Means and deviations over the seeds, one line a row and level.

    ``made_with`` says with which device, date and versions; ``config`` is that of any of the runs.
    """
    first = evaluations[table.rows[0].condition.name]
    levels = list(first[0]["levels"])
    num_seeds = min(len(evaluations[row.condition.name]) for row in table.rows)
    heads = [
        *table.columns,
        *(["level"] if len(levels) > 1 else []),
        *_HEADS.values(),
    ]
    lines = [
        f"## {table.title}",
        "",
        f"{what_ran(config, num_seeds=num_seeds)}, the last checkpoint on {first[0]['num_images']:,} "
        f"validation images ({made_with}). Mean and sample standard deviation over seeds.",
        "",
        *table_lines(
            heads,
            [
                [*row.labels, *([level] if len(levels) > 1 else []), *_cells(row, evaluations, level)]
                for row in table.rows
                for level in levels
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


_HEADS = {
    "bits_per_image": "bits an image",
    "loss": "loss x 10^3",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "perplexity": "perplexity",
    "topographic_error_8": "topographic error, 8",
    "topographic_error_4": "topographic error, 4",
    "trustworthiness": "trustworthiness",
    "topographic_product": "topographic product",
    "psnr_offset_1": "PSNR at offset 1",
    "psnr_offset_2": "offset 2",
    "psnr_offset_4": "offset 4",
}
_DIGITS = {"ssim": 3, "topographic_error_8": 3, "topographic_error_4": 3, "trustworthiness": 3}
_DIGITS |= {"topographic_product": 4, "perplexity": 0, "bits_per_image": 0}


def _figures(values: Mapping[str, Any], level: str) -> dict[str, float | None]:
    """The figures of a level in one evaluation, with those of the whole model before them."""
    of_level = values["levels"][level]
    offsets = of_level["psnr_by_offset"]
    return {
        "bits_per_image": values["bits_per_image"],
        "loss": values["loss"],
        "psnr": values["psnr"],
        "ssim": values["ssim"],
        "perplexity": of_level["usage"]["perplexity"],
        "topographic_error_8": of_level["map"]["topographic_error_8"],
        "topographic_error_4": of_level["map"]["topographic_error_4"],
        "trustworthiness": of_level["trustworthiness"],
        "topographic_product": of_level["topographic_product"],
        **{f"psnr_offset_{at}": offsets[at] if at < len(offsets) else None for at in (1, 2, 4)},
    }


def _cells(row: Row, evaluations: Evaluations, level: str) -> list[str]:
    of_seeds = [_figures(values, level) for values in evaluations[row.condition.name]]
    cells = []
    for name in of_seeds[0]:
        values = [figures[name] for figures in of_seeds]
        known = [value * (1e3 if name == "loss" else 1) for value in values if value is not None]
        cells.append(as_plus_minus(spread(known), digits=_DIGITS.get(name, 1)) if known else "none")
        if len(known) < len(values) and known:
            cells[-1] += f" (of {len(known)} seeds)"
    return cells
