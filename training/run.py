"""What stands around a ``Trainer``: progress, validations, checkpoints, and carrying on after a kill."""

from __future__ import annotations

import fcntl
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from .checkpoint import Validation, latest_checkpoint, load_checkpoint, remove_older_checkpoints
from .config import RunConfig
from .data import ImageSplits
from .distributed import Ranks
from .errors import CheckpointError, DivergedError, StoppedError
from .trainer import ALONE, StepResult, Trainer

KEPT_CHECKPOINTS = 2


def run(
    config: RunConfig, images: ImageSplits, *, out: Path, device: torch.device, ranks: Ranks = ALONE
) -> Path:
    """Train to ``config.steps``, carrying on from the latest checkpoint in ``out``; returns the last one.

    Of several ranks all read ``out`` and the first one writes to it; a signal to one of them stops them all.

    Raises StoppedError when SIGINT or SIGTERM ended the run, after the present step and with a checkpoint;
    DivergedError when the loss is no number, with the checkpoints before it kept; CheckpointError when
    ``out`` holds another run, a longer one, or one that is going on.
    """
    checkpoints = out / "checkpoints"
    trainer = Trainer(config, images, device=device, ranks=ranks)
    with _locked(out) if ranks.is_first else nullcontext():
        if any(checkpoints.glob("step-*")):
            trainer.restore(load_checkpoint(out))
        start, start_s = trainer.step_count, time.monotonic()
        if not ranks.agree(start):
            raise CheckpointError(
                f"{out}: not the same on every machine; name a folder that all of them share"
            )
        if start > config.steps:
            raise CheckpointError(f"{out}: has {start} steps already, and {config.steps} are asked for")
        with (
            stop_signals() as stopped,
            _board(out, start=start) if ranks.is_first else nullcontext() as board,
            tqdm(
                total=config.steps,
                initial=start,
                unit="step",
                dynamic_ncols=True,
                disable=not ranks.is_first,
            ) as bar,
        ):
            stopping = False
            while trainer.step_count < config.steps and not stopping:
                result = trainer.step()
                step = trainer.step_count
                stopping = ranks.any(stopped.is_set())
                bar.update()
                if board is not None and step % config.log_every == 0:
                    elapsed_s = time.monotonic() - start_s
                    _log_step(
                        board,
                        bar,
                        result,
                        step=step,
                        steps_per_s=(step - start) / elapsed_s,
                        loader_share=trainer.prefetcher.waited_s / elapsed_s,
                    )
                if step % config.validate_every == 0 or step == config.steps:
                    validation = trainer.validate()
                    if board is not None:
                        _log_validation(board, bar, validation)
                if step % config.checkpoint_every == 0 or step == config.steps or stopping:
                    _require_finite(result.reconstruction_loss, step=step, checkpoints=checkpoints)
                    if ranks.is_first:
                        trainer.save(checkpoints)
                        remove_older_checkpoints(checkpoints, keep=KEPT_CHECKPOINTS)
        ranks.wait()
    if trainer.step_count < config.steps:
        raise StoppedError(
            f"stopped at step {trainer.step_count} of {config.steps}; call the same command again to carry on"
        )
    return latest_checkpoint(checkpoints)


def _require_finite(loss: Tensor, *, step: int, checkpoints: Path) -> None:
    if not torch.isfinite(loss):
        raise DivergedError(
            f"the loss is {float(loss)} at step {step}; lower optimizer.learning_rate and start anew "
            f"(the checkpoints before it are in {checkpoints})"
        )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the run's folder: two processes in one would delete each other's checkpoints."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"{out}: another process trains here; wait for it, or name another folder"
            ) from None
        yield


def _board(out: Path, *, start: int) -> SummaryWriter:
    return SummaryWriter(str(out / "tensorboard"), purge_step=start + 1)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, instead of ending the process in the middle of a step."""
    stopped = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_step(
    board: SummaryWriter,
    bar: tqdm[None],
    result: StepResult,
    *,
    step: int,
    steps_per_s: float,
    loader_share: float,
) -> None:
    loss, psnr = float(result.reconstruction_loss), float(result.psnr)
    board.add_scalar("train/reconstruction_loss", loss, step)
    board.add_scalar("train/commitment_loss", float(result.commitment_loss), step)
    board.add_scalar("train/psnr", psnr, step)
    for level, usage in result.perplexity.items():
        board.add_scalar(f"train/perplexity/{level}", float(usage), step)
    board.add_scalar("train/steps_per_s", steps_per_s, step)
    board.add_scalar("train/loader_share", loader_share, step)
    bar.set_postfix(
        loss=f"{loss:.4f}",
        PSNR=f"{psnr:.1f} dB",
        perplexity="/".join(f"{float(usage):.0f}" for usage in result.perplexity.values()),
        loader=f"{loader_share:.0%}",
        refresh=False,
    )


def _log_validation(board: SummaryWriter, bar: tqdm[None], validation: Validation) -> None:
    board.add_scalar("validation/reconstruction_loss", validation.loss, validation.step)
    board.add_scalar("validation/psnr", validation.psnr, validation.step)
    for level, usage in validation.levels.items():
        board.add_scalar(f"validation/perplexity/{level}", usage.perplexity, validation.step)
        board.add_scalar(f"validation/codes_used/{level}", usage.codes_used, validation.step)
    levels = "; ".join(
        f"{level}: perplexity {usage.perplexity:.0f}, codes used {usage.codes_used}"
        for level, usage in validation.levels.items()
    )
    bar.write(
        f"step {validation.step}: validation loss {validation.loss:.5f}, PSNR {validation.psnr:.2f} dB, "
        f"{levels}",
        file=sys.stderr,
    )
