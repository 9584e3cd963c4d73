"""The runs of an experiment: which there are, and how several go on side by side.

A run lies in ``OUT/runs/CONDITION/seed-N`` and is what the command ``train`` would make of it: it is carried
on where it stopped, and one that is finished is not touched, so experiments that share conditions share runs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from tqdm import tqdm

from kohonen_tokenizer.parent_process import when_parent_ends

from ..build_quantizer import build_quantizer
from ..checkpoint import Checkpoint, latest_checkpoint, load_checkpoint
from ..config import RunConfig
from ..data import load_splits
from ..device import torch_device
from ..errors import CheckpointError, ConfigError, StoppedError, TrainingError
from ..run import run, stop_signals
from .paper import VALIDATIONS, Condition

POLL_S = 0.5

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Run:
    """One condition with one seed."""

    condition: Condition
    config: RunConfig
    out: Path

    def is_finished(self) -> bool:
        """Whether its last step is done."""
        try:
            return latest_checkpoint(self.out / "checkpoints").name == f"step-{self.config.steps:08d}"
        except CheckpointError:
            return False

    def checkpoint(self) -> Checkpoint:
        """What it ended with. Raises CheckpointError if that is of another configuration."""
        checkpoint = load_checkpoint(self.out)
        difference = self.config.difference(checkpoint.config)
        if difference is not None:
            raise CheckpointError(f"{self.out}: is another run ({difference}); name another --out")
        every = self.config.validate_every
        if any(v.step % every and v.step != self.config.steps for v in checkpoint.validations):
            raise CheckpointError(
                f"{self.out}: was begun as a run of another length, and validated at other steps than each "
                f"{every}; name another --out"
            )
        return checkpoint


def plan_runs(
    conditions: Sequence[Condition], *, recipe: RunConfig, num_seeds: int, steps: int, out: Path
) -> list[Run]:
    """All conditions with the seeds 0, 1, ...: seed by seed, so that a grid cut short has whole seeds.

    Raises ConfigError where a condition does not fit the recipe.
    """
    return [
        Run(
            condition,
            _config(condition, recipe=recipe, seed=seed, steps=steps),
            out / "runs" / condition.name / f"seed-{seed}",
        )
        for seed in range(num_seeds)
        for condition in conditions
    ]


def _config(condition: Condition, *, recipe: RunConfig, seed: int, steps: int) -> RunConfig:
    values = recipe.to_dict()
    quantizer = values["model"]["quantizer"]
    if quantizer["method"] != "kohonen":
        raise ConfigError(
            f"model.quantizer.method {quantizer['method']}: the paper compares rules of kohonen; leave it out"
        )
    quantizer.update(condition.quantizer)
    if quantizer["method"] == "softmax":
        quantizer["anneal_steps"] = steps  # the codes of a run that ends warm are not what it learnt with
    if condition.is_line:
        quantizer["map_shape"] = [quantizer["codebook_size"]]
    every = max(1, steps // VALIDATIONS)
    values.update(seed=seed, steps=steps, validate_every=every, checkpoint_every=every)
    config = RunConfig.from_dict(values)
    build_quantizer(config.model)  # asked for its error, before the first run
    return config


def train_all(
    runs: Sequence[Run], *, data: Path, cache: Path | None = None, device: str, num_parallel: int
) -> None:
    """Finish all of ``runs``, ``num_parallel`` at a time, each in a process that writes its folder's ``log``.

    Raises StoppedError when SIGINT or SIGTERM ended it, with every run saved, and TrainingError naming the
    runs that failed, once the others are done.
    """
    waiting = [one for one in runs if not one.is_finished()]
    working: dict[BaseProcess, Run] = {}
    failed: list[Run] = []
    num_threads = max(1, (os.cpu_count() or 1) // num_parallel)
    with (
        stop_signals() as stopped,
        tqdm(total=len(runs), initial=len(runs) - len(waiting), unit="run", dynamic_ncols=True) as bar,
    ):
        while working or (waiting and not stopped.is_set()):
            while waiting and len(working) < num_parallel and not stopped.is_set():
                one = waiting.pop(0)
                working[_start(one, data=data, cache=cache, device=device, num_threads=num_threads)] = one
            if stopped.is_set():
                for process in working:
                    process.terminate()  # it saves a checkpoint first
            time.sleep(POLL_S)
            for process in [process for process in working if not process.is_alive()]:
                one = working.pop(process)
                bar.update()
                if process.exitcode and not stopped.is_set():
                    failed.append(one)
                    bar.write(f"{one.out}: {_last_line(one.out / 'log')}", file=sys.stderr)
    if stopped.is_set():
        raise StoppedError("stopped; call the same command again to carry on")
    if failed:
        names = ", ".join(str(one.out) for one in failed)
        raise TrainingError(f"{len(failed)} of {len(runs)} runs failed ({names}); their file log says why")


def _start(one: Run, *, data: Path, cache: Path | None, device: str, num_threads: int) -> BaseProcess:
    # A server that has imported what a run needs, and has no CUDA or threads yet: each run is a fork of it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_train_in_process.__module__])
    process = context.Process(
        target=_train_in_process, args=(one.config, data, cache, one.out, device, num_threads)
    )
    # The server inherits it too: what stops a whole group of processes must leave it alive, for it is what
    # tells when a run has ended.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return process


def _train_in_process(
    config: RunConfig, data: Path, cache: Path | None, out: Path, device: str, num_threads: int
) -> None:
    # What a terminal sends to all of its processes comes from the parent here, as SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    # An experiment that was killed leaves no run behind that trains on: it saves itself and ends.
    when_parent_ends(partial(os.kill, os.getpid(), signal.SIGTERM))
    out.mkdir(parents=True, exist_ok=True)
    with (out / "log").open("a", buffering=1) as log:
        sys.stderr = sys.stdout = log
        torch.set_num_threads(num_threads)
        try:
            run(config, load_splits(config.data, data, cache=cache), out=out, device=torch_device(device))
        except TrainingError as error:
            log.write(f"\nerror: {error}\n")
            sys.exit(1)
        except Exception:
            # multiprocessing would write it where the log is closed already.
            log.write(f"\n{traceback.format_exc()}")
            sys.exit(1)


def _last_line(log: Path) -> str:
    lines = log.read_text().split("\n") if log.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), "ended without a word")
