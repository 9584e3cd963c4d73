"""Does the order of the map help who uses the tokens? Priors trained by four methods, and wrong tokens.

From the root of the repository: python -m examples.downstream IMAGES --twin EMA_BUNDLE --out runs/downstream
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from kohonen_tokenizer import Tokenizer
from kohonen_tokenizer.atomic_file import write_atomically

from ..prior.baselines import bigram_bits, uniform_bits, unigram_bits
from ..prior.encoding import encoded
from .report import gains_plot, robustness_plot, robustness_table, table
from .robustness import psnr_of_flips
from .runs import Settings, Study, all_runs, do_runs
from .token_sets import TOKEN_SETS

_NUM_FLIPPED = 500


def main(
    images: Annotated[Path, typer.Argument(help="A folder of images of the model's size.", exists=True)],
    *,
    twin: Annotated[Path, typer.Option(help="The bundle of the EMA-VQ twin.")],
    out: Annotated[Path, typer.Option(help="Folder of the results; what it has is used.", file_okay=False)],
    bundle: Annotated[Path, typer.Option(help="The bundle with the map.")] = Path("bundles/cifar10-ksom-512"),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method on each token set.")] = 3,
    parallel: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of a run.")] = 1,
    steps: Annotated[int, typer.Option(min=10, help="Steps of a run.")] = Settings().steps,
    num_train: Annotated[int, typer.Option(min=1, help="Images to learn from.")] = Settings().num_train,
    hidden: Annotated[int, typer.Option(min=8, help="Width of the transformers.")] = Settings().hidden,
    layers: Annotated[int, typer.Option(min=1, help="Their layers.")] = Settings().layers,
) -> None:
    """Make what is missing of the study in OUT, and write its table, report.md, and its plots.

    Stop it with Ctrl-C and call it again to carry on.
    """
    settings = replace(Settings(), steps=steps, num_train=num_train, hidden=hidden, layers=layers)
    bundles = {"map": bundle, "unordered": twin}
    folders = {name: out / "tokens" / name for name in bundles}
    (out / "tokens").mkdir(parents=True, exist_ok=True)
    for name, folder in folders.items():
        encoded(str(images), bundle=bundles[name], folder=folder)
    study = Study(bundles=bundles, tokens=folders, out=out, settings=settings, threads=threads)
    results = do_runs(study, all_runs(num_seeds=seeds), parallel=parallel)

    baselines = {}
    for token_set in TOKEN_SETS:
        train, held_out = study.images(token_set, seed=0)
        baselines[token_set] = {
            "uniform": uniform_bits(held_out),
            "unigram": unigram_bits(train, held_out),
            "2-D bigram": bigram_bits(train, held_out),
        }
    flips = {}
    for name, path in bundles.items():
        tokenizer = Tokenizer.load(path, num_threads=threads)
        _, held_out = study.images("map" if name == "map" else "unordered", seed=0)
        some = held_out.take(range(min(_NUM_FLIPPED, len(held_out))))
        flips[tokenizer.manifest.name] = psnr_of_flips(tokenizer, some, source=images, num_seeds=seeds)

    tables = f"{table(results, baselines=baselines)}\n{robustness_table(flips)}"
    write_atomically(out / "robustness.json", json.dumps(flips, indent=2).encode() + b"\n")
    write_atomically(out / "report.md", tables.encode())
    write_atomically(out / "gains.png", gains_plot(results))
    write_atomically(out / "robustness.png", robustness_plot(flips))
    typer.echo(tables)


if __name__ == "__main__":
    typer.run(main)
