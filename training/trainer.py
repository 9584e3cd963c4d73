"""A run that can be advanced step by step, validated and saved; the module ``run`` drives it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from .build import build_model
from .checkpoint import (
    Checkpoint,
    LevelUsage,
    Validation,
    save_checkpoint,
)
from .compilation import compile_networks
from .config import RunConfig
from .crops import crop_corners, cut_squares
from .data import ImageSplits, batch_indices, mean_over_sets, pixel_statistics
from .distributed import Ranks
from .errors import CheckpointError
from .image_quality import PEAK, peak_signal_to_noise
from .initialization import CHOOSE_CODES, initialize_codebooks
from .prefetch import Prefetcher
from .quantizer import on_first_map, perplexity

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
        self._batch_indices(0)
        self.prefetcher = Prefetcher(lambda step: self._gather(step, ranks), pin_memory=device.type == "cuda")
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
        images = self.model.normalize(self._gather(0, ALONE).to(self.device))
        with torch.compiler.set_stance("force_eager"):  # a single pass is not worth a compilation
            initialize_codebooks(self.model, images, choose=choose, seed=self.config.seed)
        for tensor in self.model.state_dict().values():
            self.ranks.copy_first_(tensor)

    def _gather(self, step: int, ranks: Ranks) -> Tensor:
        """The training images of a step, or the share of them of this one of ``ranks``."""
        config = self.config
        batch = self.images.train[ranks.share(self._batch_indices(step))]
        if config.data.train_crop is None:
            return batch
        corners = crop_corners(
            self.images.train.shape[1],
            side=config.data.train_crop,
            batch_size=config.batch_size,
            seed=config.seed,
            step=step,
        )
        return cut_squares(batch, corners=ranks.share(corners), side=config.data.train_crop)

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
