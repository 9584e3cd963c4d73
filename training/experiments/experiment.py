"""An experiment from its name to its files: train what is missing, judge, write."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from kohonen_tokenizer.atomic_file import write_atomically

from ..config import RunConfig
from ..data import load_splits
from ..errors import ConfigError
from .catalog import DATASET_OF_SOURCE, OF_TWO_LEVELS, find_experiment
from .paper import Dataset
from .plots import (
    Checkpoints,
    as_png,
    codebooks,
    codebooks_beside_fixed_codes,
    loss_curves,
    moved_images,
    one_level_moved,
    perplexity_curves,
)
from .report import as_csv, as_markdown
from .results import run_result
from .runs import plan_runs, train_all
from .topology_report import as_csv as topology_csv
from .topology_report import as_markdown as topology_markdown
from .topology_report import evaluate_runs


def run_experiment(
    name: str,
    *,
    recipe: RunConfig,
    dataset: Dataset | None,
    data: Path,
    cache: Path | None = None,
    out: Path,
    num_seeds: int,
    steps: int,
    device: str,
    num_parallel: int,
) -> list[Path]:
    """Run the experiment ``name`` of the catalog and write its table, and its plot if it is a figure.

    ``dataset`` chooses the paper's figures that stand beside, None those of the recipe's source; for
    ``cache`` see ``load_splits``. Runs that are finished in ``out`` are used as they are. Returns the files
    written. Raises ConfigError for an unknown name and what does not fit the recipe, and TrainingError when a
    run fails.
    """
    table = find_experiment(name)
    if name in OF_TWO_LEVELS and recipe.model.architecture != "vqvae2":
        raise ConfigError(
            f"experiment {name}: shows two levels, and the recipe {recipe.name} has one; "
            "use --recipe imagenet-ksom"
        )
    own = DATASET_OF_SOURCE.get(recipe.data.source)
    dataset = dataset or own or "cifar10"
    if own not in (None, dataset):
        raise ConfigError(
            f"dataset {dataset}: the recipe {recipe.name} is of {own}; "
            "leave --dataset out, or use another recipe"
        )
    runs = plan_runs(
        [row.condition for row in table.rows], recipe=recipe, num_seeds=num_seeds, steps=steps, out=out
    )
    if not all(one.is_finished() for one in runs):
        load_splits(recipe.data, data, cache=cache)  # once, before processes share what it decodes
    train_all(runs, data=data, cache=cache, device=device, num_parallel=num_parallel)

    def images() -> Tensor:
        return load_splits(recipe.data, data, cache=cache).validation

    config, made_with = runs[0].config, _made_with(device)
    figure = None
    if table.is_of_maps:
        evaluations = evaluate_runs(runs, images(), device=device)
        texts = (
            topology_csv(table, evaluations),
            topology_markdown(table, evaluations, config=config, made_with=made_with),
        )
    else:
        checkpoints = {
            row.condition.name: [one.checkpoint() for one in runs if one.condition == row.condition]
            for row in table.rows
        }
        figure = _figure(name, checkpoints, images=images)
        results = {
            condition: [run_result(one.validations, seed=one.config.seed) for one in seeds]
            for condition, seeds in checkpoints.items()
        }
        texts = (
            as_csv(table, results),
            as_markdown(table, results, config=config, dataset=dataset, made_with=made_with),
        )
    files = dict(zip((f"{name}.csv", f"{name}.md"), map(str.encode, texts), strict=True))
    if figure is not None:
        files[f"{name}.png"] = as_png(figure)
    for file, content in files.items():
        write_atomically(out / file, content)
    return [out / file for file in files]


def _figure(name: str, checkpoints: Checkpoints, *, images: Callable[[], Tensor]) -> Figure | None:
    """The figure of that name; ``images`` reads uint8 [N, H, W, 3] for those that show some."""
    table = find_experiment(name)
    match name:
        case "figure3":
            return loss_curves(table, checkpoints)
        case "figure4":
            return codebooks(table, checkpoints)
        case "figure5":
            return moved_images(table, checkpoints, pixels=images())
        case "figure6":
            return perplexity_curves(table, checkpoints)
        case "figure7":
            return codebooks_beside_fixed_codes(table, checkpoints)
        case "figure8":
            return one_level_moved(table, checkpoints, pixels=images()[:1])
        case "figure9":
            return one_level_moved(table, checkpoints, pixels=images()[-1:])
    return None


def _made_with(device: str) -> str:
    """Device, versions and today's date, for the report."""
    where = (
        torch.cuda.get_device_name(torch.device(device))
        if device.startswith("cuda")
        else f"{platform.machine()} CPU, {os.cpu_count()} threads"
    )
    return f"{where}, torch {torch.__version__}, {datetime.datetime.now(datetime.UTC).date().isoformat()}"
