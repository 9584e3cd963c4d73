"""The commands ``train`` and ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kohonen_tokenizer.atomic_file import write_atomically

from .config import RunConfig
from .errors import ConfigError, DataError

# What needs torch is imported where it is used: the help is quick, and works where torch is not installed.
if TYPE_CHECKING:
    from torch import Tensor

    from .data import ImageSplits

RECIPES = Path(__file__).parent / "recipes"

app = typer.Typer(no_args_is_help=True, help="Train and evaluate Kohonen-VAEs.")


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(help="A TOML file, or the name of a recipe that comes along, e.g. cifar10-ksom.")
    ],
    *,
    data: Annotated[
        Path, typer.Option(help="Folder of the images, or a .tar; CIFAR-10 is downloaded into it.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the run; a run found there is carried on.", file_okay=False)
    ],
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of decoded images; by default DATA/.kohonen-cache.", file_okay=False),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps, instead of the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step, instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the recipe's.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or cuda:N.")] = "cpu",
) -> None:
    """Train a model and write checkpoints.

    Example: kohonen-tokenizer train cifar10-ksom --data data --out runs/ksom --device cuda

    Stop it with Ctrl-C and call it again to carry on. TensorBoard reads OUT/tensorboard.

    On several GPUs: torchrun --nproc-per-node 8 -m kohonen_tokenizer train ... --device cuda
    """
    from .data import load_splits
    from .device import torch_device
    from .distributed import device_of_rank, first_rank_first, joined_ranks
    from .run import run

    config = RunConfig.from_toml(find_recipe(recipe)).with_changes(
        steps=steps, batch_size=batch_size, seed=seed
    )
    chosen = torch_device(device_of_rank(device))
    with joined_ranks(chosen) as ranks:
        with first_rank_first(ranks):
            images = load_splits(config.data, data, cache=cache)
        checkpoint = run(config, images, out=out, device=chosen, ranks=ranks)
    if ranks.is_first:
        typer.echo(checkpoint)


@app.command()
def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(help="A run's folder (its latest checkpoint) or a step-* folder.")
    ],
    *,
    data: Annotated[Path, typer.Option(help="Folder, or .tar, of the images that it was trained on.")],
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of decoded images; by default DATA/.kohonen-cache.", file_okay=False),
    ] = None,
    split: Annotated[Literal["test", "validation"], typer.Option(help="Which images.")] = "test",
    json: Annotated[Path | None, typer.Option(help="File to write the figures to.", dir_okay=False)] = None,
    u_matrix: Annotated[
        Path | None,
        typer.Option(
            help="PNG file to draw the map to: the darker a code, the nearer its neighbors.", dir_okay=False
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or cuda:N.")] = "cpu",
) -> None:
    """Measure a checkpoint: loss, PSNR, SSIM, codebook use, and the order of its map.

    Example: kohonen-tokenizer evaluate runs/ksom --data data --json runs/ksom/test.json
    """
    from .checkpoint import load_checkpoint
    from .data import load_splits
    from .device import torch_device
    from .evaluation import evaluate as evaluate_checkpoint
    from .evaluation_report import as_json, as_table, u_matrix_picture
    from .trainer import check_data

    loaded = load_checkpoint(checkpoint)
    splits = load_splits(loaded.config.data, data, cache=cache)
    check_data(loaded, splits)
    images = _images_of(splits, split)
    evaluation = evaluate_checkpoint(
        loaded,
        images,
        split=split,
        device=torch_device(device),
        sets=splits.validation_sets if split == "validation" else None,
    )
    typer.echo(as_table(evaluation))
    if json is not None:
        write_atomically(json, as_json(evaluation))
    if u_matrix is not None:
        write_atomically(u_matrix, u_matrix_picture(loaded))


@app.command()
def experiment(
    name: Annotated[str, typer.Argument(help="table1 to table4, figure3 to figure9, topology, or methods.")],
    *,
    data: Annotated[
        Path, typer.Option(help="Folder of the images, or a .tar; CIFAR-10 is downloaded into it.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the results; runs found in it are used.", file_okay=False)
    ],
    recipe: Annotated[
        str, typer.Option(help="What all runs share: a TOML file or a recipe's name.")
    ] = "cifar10-ksom",
    dataset: Annotated[
        Literal["cifar10", "imagenet", "faces"] | None,
        typer.Option(help="Whose figures of the paper stand beside; by default those of the recipe's data."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of decoded images; by default DATA/.kohonen-cache.", file_okay=False),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each row; the paper has 10.", min=1)] = 3,
    steps: Annotated[
        int | None, typer.Option(help="Steps of each run, instead of the recipe's.", min=1)
    ] = None,
    parallel: Annotated[int, typer.Option(help="Runs at a time.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, or cuda:N.")] = "cpu",
) -> None:
    """Repeat a table or a figure of the paper: train what it compares, and write OUT/NAME.csv, .md and .png.

    Example: kohonen-tokenizer experiment table1 --data data --out runs/paper --device cuda --parallel 4

    Stop it with Ctrl-C and call it again to carry on.
    """
    from .experiments.catalog import find_experiment

    find_experiment(name)  # before the seconds that torch takes to import

    from .device import torch_device
    from .experiments.experiment import run_experiment

    config = RunConfig.from_toml(find_recipe(recipe))
    torch_device(device)
    written = run_experiment(
        name,
        recipe=config,
        dataset=dataset,
        data=data,
        cache=cache,
        out=out,
        num_seeds=seeds,
        steps=steps or config.steps,
        device=device,
        num_parallel=parallel,
    )
    typer.echo("\n".join(map(str, written)))


def _images_of(splits: ImageSplits, split: Literal["test", "validation"]) -> Tensor:
    images = splits.test if split == "test" else splits.validation
    if images is None:
        raise DataError("the data has no test images; use --split validation")
    return images


def find_recipe(recipe: str) -> Path:
    """A recipe's file by path or by the name of one that comes along. Raises ConfigError."""
    included = {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}
    if recipe in included:
        return included[recipe]
    if not Path(recipe).is_file():
        raise ConfigError(
            f"recipe {recipe!r}: no such file; name a TOML file or one of {', '.join(included)}"
        )
    return Path(recipe)
