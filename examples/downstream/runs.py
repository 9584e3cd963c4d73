"""The runs of the study: each a method on a token set with a seed, and a JSON file of what came out."""

import json
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from kohonen_tokenizer import Tokenizer
from kohonen_tokenizer.atomic_file import write_atomically

from ..prior.token_dataset import TokenDataset
from ..prior.transformer import bits_per_token, image_gpt, training_steps
from .methods import METHODS, Method, apply_method
from .token_sets import TOKEN_SETS, TokenSet, permuted


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What all runs share."""

    num_train: int = 20_000
    num_held_out: int = 2_000
    steps: int = 250
    batch_size: int = 64
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    learning_rate: float = 3e-3
    sigma: float = 0.5
    """Of the smoothed targets, in steps of the map."""
    cell_shape: tuple[int, int] = (4, 4)
    """Rows and columns of the map in a cell of coarse-to-fine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One training."""

    method: Method
    token_set: TokenSet
    seed: int

    @property
    def name(self) -> str:
        """The stem of its file."""
        return f"{self.token_set}_{self.method}_seed-{self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Where everything is, and how the runs are made."""

    bundles: dict[str, Path]
    """Of "map" and "unordered"."""
    tokens: dict[str, Path]
    """Their datasets of tokens, made from the same images."""
    out: Path
    settings: Settings
    threads: int
    """Of one run."""

    def result_file(self, run: Run) -> Path:
        """Where the result of `run` is, once there is one."""
        return self.out / "runs" / f"{run.name}.json"

    def images(self, token_set: TokenSet, *, seed: int) -> tuple[TokenDataset, TokenDataset]:
        """Images to learn from and held-out ones: the same images, whatever the tokens."""
        dataset = TokenDataset.read(self.tokens["map" if token_set == "permuted" else token_set])
        if token_set == "permuted":
            dataset = permuted(dataset, seed=seed)
        return dataset.split(num_held_out=self.settings.num_held_out, num_train=self.settings.num_train)


def all_runs(*, num_seeds: int) -> list[Run]:
    """Every method on every token set, seed by seed, so that a study that is stopped has whole seeds."""
    return [
        Run(method=method, token_set=token_set, seed=seed)
        for seed in range(num_seeds)
        for token_set in TOKEN_SETS
        for method in METHODS
    ]


def do_runs(study: Study, runs: Sequence[Run], *, parallel: int) -> list[dict[str, Any]]:
    """The results of `runs`; only those that have no file yet are made.

    Raises:
        ValueError: a result was made with other settings.
    """
    (study.out / "runs").mkdir(parents=True, exist_ok=True)
    missing = [run for run in runs if not study.result_file(run).exists()]
    with multiprocessing.get_context("spawn").Pool(parallel) as pool:
        done = pool.imap_unordered(_do_run, [(study, run) for run in missing])
        for _ in tqdm(
            done, initial=len(runs) - len(missing), total=len(runs), unit="run", dynamic_ncols=True
        ):
            pass
    results = [json.loads(study.result_file(run).read_text()) for run in runs]
    expected = json.loads(json.dumps(asdict(study.settings)))
    for run, result in zip(runs, results, strict=True):
        if result["settings"] != expected:
            path = study.result_file(run)
            raise ValueError(f"{path} was made with {result['settings']}; name another --out, or remove it")
    return results


def _do_run(work: tuple[Study, Run]) -> None:
    study, run = work
    settings = study.settings
    torch.set_num_threads(study.threads)
    train, held_out = study.images(run.token_set, seed=run.seed)
    tokenizer = Tokenizer.load(
        study.bundles["unordered" if run.token_set == "unordered" else "map"], num_threads=1
    )
    height, width = train.latent_grid
    torch.manual_seed(run.seed)
    model = image_gpt(
        codebook_size=train.codebook_size,
        num_tokens=height * width,
        hidden=settings.hidden,
        num_layers=settings.layers,
        num_heads=settings.heads,
    )
    loss_of = apply_method(
        run.method,
        model,
        coordinates=torch.tensor(tokenizer.codebook.coordinates, dtype=torch.int64),
        soft_targets=torch.from_numpy(tokenizer.soft_targets(sigma=settings.sigma)),
        cell_shape=settings.cell_shape,
    )
    start_s = time.process_time()
    losses = training_steps(
        model,
        train,
        num_steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=run.seed,
        loss_of=loss_of,
    )
    for _ in losses:
        pass
    train_cpu_s = time.process_time() - start_s
    result = asdict(run) | {
        "held_out_bits": bits_per_token(model, held_out),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "train_cpu_s": round(train_cpu_s, 1),
        "settings": asdict(settings),
        **tokenizer.identity,
    }
    write_atomically(study.result_file(run), json.dumps(result, indent=2).encode() + b"\n")
