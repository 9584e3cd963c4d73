"""The training loop.

A ``Trainer`` is a run that can be advanced step by step; ``run`` adds what a person wants around it: a
progress bar, TensorBoard, validations, checkpoints, and carrying on after a kill.
"""

from __future__ import annotations

import fcntl
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from .build import build_model
from .checkpoint import (
    Checkpoint,
    LevelUsage,
    Validation,
    latest_checkpoint,
    load_checkpoint,
    remove_older_checkpoints,
    save_checkpoint,
)
from .compilation import compile_networks
from .config import RunConfig
from .data import ImageSplits, batch_indices, mean_over_sets, pixel_statistics
from .distributed import Ranks
from .errors import CheckpointError, DivergedError, StoppedError
from .image_quality import PEAK, peak_signal_to_noise
from .initialization import CHOOSE_CODES, initialize_codebooks
from .prefetch import Prefetcher
from .quantizer import on_first_map, perplexity

KEPT_CHECKPOINTS = 2

ALONE = Ranks()


@dataclass(frozen=True, slots=True)
class StepResult:
    """Losses of one step over its whole batch, still on the device: reading them costs a synchronization."""

    reconstruction_loss: Tensor
    commitment_loss: Tensor
    """The sum of the levels'."""
    psnr: Tensor
    """Of the batch as one picture, dB, before rounding to 8 bits."""
    perplexity: dict[str, Tensor]
    """By level."""


class Trainer:
    """A run in progress. Where several ``ranks`` share it, all of them call the same methods together."""

    def __init__(
        self, config: RunConfig, images: ImageSplits, *, device: torch.device, ranks: Ranks = ALONE
    ) -> None:
        """The run at step 0."""
        self.config = config
        self.images = images
        self.device = device
        self.ranks = ranks
        self.step_count = 0
        self.validations: tuple[Validation, ...] = ()
        self.data_sha256 = images.sha256()
        # Asked here for its error: before a folder is made or a step is done.
        self._indices(0)
        self.prefetcher = Prefetcher(images.train, indices=self._indices, pin_memory=device.type == "cuda")
        model = build_model(config.model, seed=config.seed)
        model.pixel_mean, model.pixel_std = pixel_statistics(config.data.normalization, images.train)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        if config.speed.compile:
            compile_networks(self.model)
        self._parallel_model = ranks.data_parallel(self.model)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.optimizer.learning_rate,
            betas=config.optimizer.betas,
            eps=config.optimizer.epsilon,
            weight_decay=config.optimizer.weight_decay,
            fused=True,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Carry on from ``checkpoint``. Raises CheckpointError if it is of another run."""
        difference = self.config.difference(checkpoint.config)
        if difference is not None:
            raise CheckpointError(
                f"{checkpoint.path}: has another configuration ({difference}); use its own, or another --out"
            )
        check_data(checkpoint, self.images)
        state = checkpoint.optimizer_state()
        self.model.load_state_dict(checkpoint.weights)
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        self.step_count = checkpoint.step
        self.validations = checkpoint.validations

    def step(self) -> StepResult:
        """One optimizer step on the next batch (Eq. 15 with means, see ``Quantized.commitment_loss``)."""
        if self.step_count == 0:
            self._initialize_codebooks()
        batch = self.prefetcher.batch(self.step_count)
        images = self.model.normalize(batch.to(self.device, non_blocking=True))
        self.model.train()
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.speed.precision == "bfloat16"
        ):
            result = self._parallel_model(images)
        reconstruction = result.images.float()
        reconstruction_loss = F.mse_loss(reconstruction, images)
        commitment_loss = result.commitment_loss
        weight = self.config.optimizer.commitment_weight
        loss = reconstruction_loss + weight * commitment_loss + result.codebook_loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.max_grad_norm)
        self.optimizer.step()
        self.step_count += 1
        with torch.no_grad():
            levels = (reconstruction - images) * self.model.pixel_std.view(1, 3, 1, 1)
            means = torch.stack([reconstruction_loss, commitment_loss, levels.square().mean()])
            reconstruction_loss, commitment_loss, squared_levels = self.ranks.mean_(means)
        return StepResult(
            reconstruction_loss=reconstruction_loss,
            commitment_loss=commitment_loss,
            psnr=10 * torch.log10(PEAK**2 / squared_levels),
            perplexity={level: quantized.perplexity for level, quantized in result.quantized.items()},
        )

    def _initialize_codebooks(self) -> None:
        """Choose the first codes as the config says, from the whole first batch, and alike on all ranks."""
        choose = CHOOSE_CODES[self.config.model.quantizer.initialization]
        if choose is None:
            return
        images = self.model.normalize(self.images.train[self._batch_indices(0)].to(self.device))
        with torch.compiler.set_stance("force_eager"):  # a single pass is not worth a compilation
            initialize_codebooks(self.model, images, choose=choose, seed=self.config.seed)
        for tensor in self.model.state_dict().values():
            self.ranks.copy_first_(tensor)

    def _indices(self, step: int) -> Tensor:
        """Indices of this rank's training images of a step."""
        return self.ranks.share(self._batch_indices(step))

    def _batch_indices(self, step: int) -> Tensor:
        """Indices of the images of a step, those of all ranks."""
        return batch_indices(
            num_images=len(self.images.train),
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            step=step,
        )

    @torch.inference_mode()
    def validate(self) -> Validation:
        """Look at the held-out images and remember the result.

        Loss and PSNR are means over images, or where the source has several validation sets, the unweighted
        mean of theirs.
        """
        self.model.eval()
        counts = {
            level: torch.zeros(quantizer.grid.size, dtype=torch.int64, device=self.device)
            for level, quantizer in self.model.quantizers.items()
        }
        pixels, size = self.images.validation, self.config.validation_batch_size
        # Squared error and PSNR of each image.
        scores = torch.zeros(2, len(pixels), dtype=torch.float64)
        # The ranks take turns at the batches; one that gets fewer than another has nothing to wait for.
        for start in range(0, len(pixels), size)[self.ranks.rank :: self.ranks.size]:
            original = pixels[start : start + size].to(self.device)
            images = self.model.normalize(original)
            result = self.model(images)
            scores[0, start : start + size] = (
                (result.images - images).square().flatten(1).double().mean(1).cpu()
            )
            scores[1, start : start + size] = peak_signal_to_noise(
                self.model.to_pixels(result.images), original
            ).cpu()
            for level, quantized in result.quantized.items():
                indices = on_first_map(quantized.indices).flatten()
                counts[level] += torch.bincount(indices, minlength=len(counts[level]))
        for sums in (scores, *counts.values()):
            self.ranks.sum_(sums)
        losses, psnrs = scores
        sets = self.images.validation_sets
        validation = Validation(
            step=self.step_count,
            loss=mean_over_sets(losses, sets),
            psnr=mean_over_sets(psnrs, sets),
            levels={
                level: LevelUsage(
                    perplexity=float(perplexity(used.double())), codes_used=int((used > 0).sum())
                )
                for level, used in counts.items()
            },
        )
        self.validations = (*self.validations, validation)
        return validation

    def save(self, folder: Path) -> Path:
        """Write a checkpoint into ``folder`` and return its path."""
        return save_checkpoint(
            folder,
            model=self.model,
            optimizer=self.optimizer,
            config=self.config,
            step=self.step_count,
            validations=self.validations,
            num_train_images=len(self.images.train),
            data_sha256=self.data_sha256,
        )


def check_data(checkpoint: Checkpoint, images: ImageSplits) -> None:
    """Raise CheckpointError unless ``checkpoint`` was trained on ``images``."""
    if images.sha256() != checkpoint.data_sha256:
        raise CheckpointError(
            f"{checkpoint.path}: was trained on {checkpoint.num_train_images} other images than these "
            f"{len(images.train)}; name the folder of its own data"
        )


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
