"""Checkpoints: folders with weights, a description and what a resumed run needs, whole or not there at all.

    step-00005000/
      model.safetensors   weights and buffers (codebook, averages, step, pixel mean and standard deviation)
      optimizer.pt        state of the optimizer; only a resumed run reads it
      checkpoint.json     config, step, validations so far, sha256 of the two files above

Nothing in a run is random after its start but the order of images, which follows from seed and step: with the
optimizer's state that is all there is to carry on from. The generator's state is kept all the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from kohonen_tokenizer.atomic_file import sync

from .autoencoder import QuantizedAutoencoder
from .build import build_model
from .config import RunConfig
from .errors import CheckpointError

FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.pt"
DESCRIPTION = "checkpoint.json"


@dataclass(frozen=True, slots=True)
class LevelUsage:
    """How a level used its codebook, over a whole set of images."""

    perplexity: float
    """exp(-sum p log p) of the usage."""

    codes_used: int
    """Codes that occur in the set."""


@dataclass(frozen=True, slots=True)
class Validation:
    """One look at the held-out images."""

    step: int
    """Optimizer steps done."""

    loss: float
    """Mean squared error over all elements of the normalized images, without commitment."""

    psnr: float
    """Mean over images, dB, of 8-bit reconstructions."""

    levels: dict[str, LevelUsage]
    """By level."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Validation:
        """From what ``asdict`` gives, or gave while the usage of the one level stood beside the loss."""
        levels = values.get("levels") or {
            "tokens": {key: values[key] for key in ("perplexity", "codes_used")}
        }
        return cls(
            step=values["step"],
            loss=values["loss"],
            psnr=values["psnr"],
            levels={level: LevelUsage(**usage) for level, usage in levels.items()},
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified checkpoint."""

    path: Path
    config: RunConfig
    step: int
    validations: tuple[Validation, ...]
    weights: dict[str, Tensor]
    weights_sha256: str
    num_train_images: int
    data_sha256: str

    def model(self) -> QuantizedAutoencoder:
        """The model with these weights, in eval mode."""
        model = build_model(self.config.model, seed=self.config.seed)
        try:
            model.load_state_dict(self.weights)
        except RuntimeError:
            raise CheckpointError(
                f"{self.path}: {WEIGHTS} does not fit the model in {DESCRIPTION}; use another checkpoint"
            ) from None
        return model.eval()

    def optimizer_state(self) -> dict[str, Any]:
        """State of the optimizer and of the random generator: {"optimizer": ..., "rng": ...}."""
        state: dict[str, Any] = torch.load(self.path / OPTIMIZER, map_location="cpu", weights_only=True)
        return state


def save_checkpoint(
    folder: Path,
    *,
    model: QuantizedAutoencoder,
    optimizer: torch.optim.Optimizer,
    config: RunConfig,
    step: int,
    validations: tuple[Validation, ...],
    num_train_images: int,
    data_sha256: str,
) -> Path:
    """Write ``folder/step-NNNNNNNN`` and return it. It has that name only once all of it is on the disk."""
    target = folder / f"step-{step:08d}"
    partial = folder / f".partial-{step:08d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = save({name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()})
    _write(partial / WEIGHTS, weights)
    torch.save({"optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}, partial / OPTIMIZER)
    sync(partial / OPTIMIZER)
    description = {
        "format_version": FORMAT_VERSION,
        "step": step,
        "config": config.to_dict(),
        "num_train_images": num_train_images,
        "data_sha256": data_sha256,
        "validations": [asdict(validation) for validation in validations],
        "sha256": {name: _sha256((partial / name).read_bytes()) for name in (WEIGHTS, OPTIMIZER)},
    }
    _write(partial / DESCRIPTION, json.dumps(description, indent=2).encode())
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    sync(folder)
    return target


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint: its own folder, or the latest of a run. Raises CheckpointError."""
    path = path if (path / DESCRIPTION).is_file() else latest_checkpoint(path / "checkpoints")
    try:
        description = json.loads((path / DESCRIPTION).read_text())
        version = description["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{path}: format_version {version}, this program reads {FORMAT_VERSION}; train again"
            )
        for name in (WEIGHTS, OPTIMIZER):
            expected = description["sha256"][name]
            if _sha256((path / name).read_bytes()) != expected:
                raise CheckpointError(f"{path / name}: changed since it was written; use another checkpoint")
        return Checkpoint(
            path=path,
            config=RunConfig.from_dict(description["config"]),
            step=description["step"],
            validations=tuple(Validation.from_dict(values) for values in description["validations"]),
            weights=load((path / WEIGHTS).read_bytes()),
            weights_sha256=description["sha256"][WEIGHTS],
            data_sha256=description["data_sha256"],
            num_train_images=description["num_train_images"],
        )
    except CheckpointError:
        raise
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error}); use another one") from None


def latest_checkpoint(folder: Path) -> Path:
    """The checkpoint of the most steps in ``folder``. Raises CheckpointError when there is none."""
    found = sorted(folder.glob("step-*"))
    if not found:
        raise CheckpointError(
            f"{folder.parent}: no checkpoint; name a run's folder or a step-NNNNNNNN folder"
        )
    return found[-1]


def remove_older_checkpoints(folder: Path, *, keep: int) -> None:
    """Delete all but the ``keep`` latest checkpoints of a run, and leavings of interrupted writes."""
    for path in [*sorted(folder.glob("step-*"))[:-keep], *folder.glob(".partial-*")]:
        shutil.rmtree(path)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    sync(path)
