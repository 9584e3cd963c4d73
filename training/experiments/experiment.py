"""An experiment from its name to its files: train what is missing, judge, write."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from kohonen_tokenizer.atomic_file import write_atomically

from ..config import RunConfig
from ..data import load_splits
from ..errors import ConfigError
from .paper import EXPERIMENTS, Dataset
from .plots import Checkpoints, as_png, codebooks, loss_curves, moved_images, perplexity_curves
from .report import as_csv, as_markdown
from .results import run_result
from .runs import plan_runs, train_all


def run_experiment(
    name: str,
    *,
    recipe: RunConfig,
    dataset: Dataset,
    data: Path,
    out: Path,
    num_seeds: int,
    steps: int,
    device: str,
    num_parallel: int,
) -> list[Path]:
    """Run the experiment ``name`` of ``EXPERIMENTS`` and write its table, and its plot if it is a figure.

    ``dataset`` chooses the paper's figures that stand beside. Runs that are finished in ``out`` are used as
    they are. Returns the files written. Raises ConfigError for an unknown name, and TrainingError when a run
    fails.
    """
    table = EXPERIMENTS.get(name)
    if table is None:
        raise ConfigError(f"experiment {name!r}: there is none; use one of {', '.join(EXPERIMENTS)}")
    runs = plan_runs(
        [row.condition for row in table.rows], recipe=recipe, num_seeds=num_seeds, steps=steps, out=out
    )
    images = load_splits(recipe.data, data)  # downloaded and decoded once, before processes share them
    train_all(runs, data=data, device=device, num_parallel=num_parallel)
    checkpoints = {
        row.condition.name: [one.checkpoint() for one in runs if one.condition == row.condition]
        for row in table.rows
    }
    results = {
        condition: [run_result(one.validations, seed=one.config.seed) for one in seeds]
        for condition, seeds in checkpoints.items()
    }
    files = {
        f"{name}.csv": as_csv(table, results).encode(),
        f"{name}.md": as_markdown(
            table, results, config=runs[0].config, dataset=dataset, made_with=_made_with(device)
        ).encode(),
    }
    figure = _figure(name, checkpoints, pixels=images.validation)
    if figure is not None:
        files[f"{name}.png"] = as_png(figure)
    for file, content in files.items():
        write_atomically(out / file, content)
    return [out / file for file in files]


def _figure(name: str, checkpoints: Checkpoints, *, pixels: Tensor) -> Figure | None:
    table = EXPERIMENTS[name]
    match name:
        case "figure3":
            return loss_curves(table, checkpoints)
        case "figure4":
            return codebooks(table, checkpoints)
        case "figure5":
            return moved_images(table, checkpoints, pixels=pixels)
        case "figure6":
            return perplexity_curves(table, checkpoints)
    return None


def _made_with(device: str) -> str:
    """Device, versions and today's date, for the report."""
    where = (
        torch.cuda.get_device_name(torch.device(device))
        if device.startswith("cuda")
        else f"{platform.machine()} CPU, {os.cpu_count()} threads"
    )
    return f"{where}, torch {torch.__version__}, {datetime.datetime.now(datetime.UTC).date().isoformat()}"
