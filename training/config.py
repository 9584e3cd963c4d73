"""What a run is: frozen dataclasses, read from TOML, checked, and stored whole in every checkpoint."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from .errors import ConfigError
from .quantizer_config import QuantizerConfig
from .speed import SpeedConfig

_STRICT_KEYS = ConfigDict(extra="forbid")

MAX_SEED = 2**32 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The networks around the quantizers; the defaults are the paper's CIFAR-10 model."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT_KEYS

    architecture: Literal["vqvae", "vqvae2"] = "vqvae"
    """``vqvae`` has tokens at a quarter of the image's side; ``vqvae2`` also some at an eighth."""

    hidden: int = 128
    """Channels of the encoder's and decoder's trunk; even."""

    num_residual_blocks: int = 2
    """Residual blocks in the encoder, and as many in the decoder."""

    residual_channels: int = 32
    """Channels inside a residual block."""

    code_dim: int = 64
    """Dimension of a code, D."""

    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    """The quantizer; with two levels, each has one like this and learns for itself."""

    def __post_init__(self) -> None:
        if self.hidden < 2 or self.hidden % 2:
            raise ValueError(f"hidden {self.hidden}: must be an even number over 0")
        if self.num_residual_blocks < 0:
            raise ValueError(f"num_residual_blocks {self.num_residual_blocks}: must not be negative")
        if self.residual_channels < 1 or self.code_dim < 1:
            raise ValueError(
                "num_residual_blocks must be at least 0, residual_channels and code_dim at least 1"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Where the images come from."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT_KEYS

    source: Literal["cifar10", "imagenet", "faces", "folder", "tar"] = "cifar10"
    """``cifar10`` is downloaded by torchvision; ``imagenet`` has train/ and val/ with a folder a class;
    ``faces`` celeba_hq/ and afhq/, each with train/ and val/; ``folder`` images, or train/ and maybe val/ and
    test/ with images; ``tar`` is the same in a .tar, or WebDataset shards named by their split."""

    name: str = "CIFAR-10"
    """What the model card and the bundle call this data."""

    license: str = "unknown"
    """Licence of the data, as the bundle states it."""

    image_size: int = 32
    """Height and width in pixels, a multiple of 4, or of 8 for two levels."""

    resize: Literal["crop", "squash"] = "crop"
    """Other images are scaled to cover the square and cut to its center, or squashed as the paper's."""

    train_crop: int | None = None
    """Side in pixels of the random square of each image that a training step sees, instead of the whole: the
    tokens of a large image then cost a small one's step. Validation is on whole images."""

    normalization: Literal["train", "imagenet", "symmetric"] = "train"
    """Mean and deviation of the channels: of the training images (the paper's CIFAR-10), of ImageNet, or
    127.5 both, which makes -1 to 1 of the pixels (the paper's faces)."""

    validation_share: float = 0.2
    """Share of the training images that is held out for validation, where the source has no images for it."""

    split_seed: int = 0
    """Seed of the held-out choice; apart from the run's seed, so that seeds share a validation set."""

    def __post_init__(self) -> None:
        if self.image_size < 12 or self.image_size % 4:
            raise ValueError(f"image_size {self.image_size}: must be a multiple of 4, 12 or more")
        if self.train_crop is not None and not 12 <= self.train_crop <= self.image_size:
            raise ValueError(
                f"train_crop {self.train_crop}: must be 12 to the image_size, which is {self.image_size}"
            )
        if self.source == "cifar10" and self.image_size != 32:
            raise ValueError(
                f"image_size {self.image_size}: CIFAR-10 has 32; leave it out, or use a folder as the source"
            )
        if self.source != "cifar10" and self.name == "CIFAR-10":
            raise ValueError("data.name is not set: say what the images are, as the bundle will")
        if not 0 < self.validation_share < 1:
            raise ValueError(
                f"validation_share {self.validation_share}: must be between 0 and 1; the recipe uses 0.2"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW, as in the recipe: constant rate, no warm-up."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT_KEYS

    learning_rate: float = 1e-3
    """Step size."""

    weight_decay: float = 0.0
    """Decoupled weight decay."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the moment averages."""

    epsilon: float = 1e-8
    """Added to the denominator."""

    max_grad_norm: float = 1.0
    """Global gradient norm is clipped to this."""

    commitment_weight: float = 0.25
    """alpha of Eq. 15."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "max_grad_norm", "epsilon"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)}: must be a finite number over 0")
        for name in ("weight_decay", "commitment_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)}: must be a finite number, not negative")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {self.betas}: each must be in [0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One training run."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT_KEYS

    name: str = "kohonen-vae"
    """Name of the model; the bundle carries it."""

    seed: int = 0
    """Seed of the weights, the codebook and the order of the images."""

    steps: int = 30_000
    """Optimizer steps."""

    batch_size: int = 256
    """Images a step."""

    validation_batch_size: int = 512
    """Images a validation batch."""

    validate_every: int = 1_000
    """Steps between validations."""

    checkpoint_every: int = 1_000
    """Steps between checkpoints."""

    log_every: int = 50
    """Steps between TensorBoard points."""

    data: DataConfig = field(default_factory=DataConfig)
    """The images."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The model."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The optimizer."""

    speed: SpeedConfig = field(default_factory=SpeedConfig)
    """How a step is computed."""

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "validation_batch_size",
            "validate_every",
            "checkpoint_every",
            "log_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be at least 1")
        stride = 8 if self.model.architecture == "vqvae2" else 4
        for name, size in (("image_size", self.data.image_size), ("train_crop", self.data.train_crop or 0)):
            if size % stride:
                raise ValueError(
                    f"data.{name} {size}: must be a multiple of {stride} for the architecture "
                    f"{self.model.architecture}"
                )
        for name, seed in (("seed", self.seed), ("data.split_seed", self.data.split_seed)):
            if not 0 <= seed <= MAX_SEED:
                raise ValueError(f"{name} {seed}: must be 0 to {MAX_SEED}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", self.name):
            raise ValueError(
                f"name {self.name!r}: must be 1 to 128 letters, digits, '.', '_' or '-', as for a bundle"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``from_dict`` reads them back."""
        plain: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return plain

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunConfig:
        """The config with these values. Raises ConfigError naming the first key that is unknown or unfit."""
        try:
            # As JSON, where strict means that "8" is no number but a list may be a tuple.
            return _ADAPTER.validate_json(json.dumps(values, default=str), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{key}: {message}" if key else message) from None

    @classmethod
    def from_toml(cls, path: Path) -> RunConfig:
        """The config in a TOML file. Raises ConfigError naming the file and what is wrong."""
        try:
            return cls.from_dict(tomllib.loads(path.read_text()))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a TOML file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not a TOML file ({error})") from None
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    def with_changes(
        self, *, steps: int | None = None, batch_size: int | None = None, seed: int | None = None
    ) -> RunConfig:
        """A copy with the values that are not None put in."""
        given = {"steps": steps, "batch_size": batch_size, "seed": seed}
        return RunConfig.from_dict(
            self.to_dict() | {key: value for key, value in given.items() if value is not None}
        )

    def difference(self, other: RunConfig) -> str | None:
        """The first value in which ``other`` is another run, as "key: this, not that"; None if there is none.

        Runs that differ only in length, intervals and whether they are compiled are the same.
        """
        free = ("steps", "validate_every", "checkpoint_every", "log_every", "speed.compile")
        for (key, this), (_, that) in zip(_flat(self.to_dict()), _flat(other.to_dict()), strict=True):
            if this != that and key not in free:
                return f"{key}: {this}, not {that}"
        return None


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries, with dotted keys."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


_ADAPTER = TypeAdapter(RunConfig)
