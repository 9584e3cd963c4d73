"""The tensors of a graph, as the manifest has them, whatever engine runs it.

B batch, H W pixels, h w latent grid of a level, T tokens of an image on all levels.

Whatever queues, batches or splits work sees one array with a row for each image. Where a model has several
levels of tokens, a row holds those of each level one after the other: int32 [B, T].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .manifest import ImageSpec, Level, tensor_name

Rows = npt.NDArray[Any]
"""A batch: pixels uint8 [B, H, W, 3], or tokens int32 [B, h, w] of one level or [B, T] of several."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """An input or output of a graph; the batch comes before `shape`."""

    name: str
    dtype: Literal["uint8", "int32"]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [B, {', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """All inputs, or all outputs, of a graph, at least one and of one dtype, and how they share rows."""

    specs: tuple[TensorSpec, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.specs))

    @property
    def dtype(self) -> Literal["uint8", "int32"]:
        """Of every tensor."""
        return self.specs[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row."""
        if len(self.specs) == 1:
            return self.specs[0].shape
        return (sum(math.prod(spec.shape) for spec in self.specs),)

    def zeros(self, batch_size: int) -> Rows:
        """A batch of black pixels, or of the first token."""
        return np.zeros((batch_size, *self.shape), dtype=self.dtype)

    def pack(self, tensors: Sequence[Rows]) -> Rows:
        """Rows that hold `tensors`, one for each spec; the tensor itself where there is one."""
        if len(self.specs) == 1:
            return tensors[0]
        parts = [
            tensor.reshape(len(tensor), math.prod(spec.shape))
            for tensor, spec in zip(tensors, self.specs, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    def unpack(self, rows: Rows) -> list[Rows]:
        """The tensors that `rows` hold, as views of them."""
        if len(self.specs) == 1:
            return [rows]
        ends = np.cumsum([math.prod(spec.shape) for spec in self.specs])
        parts = np.split(rows, ends[:-1], axis=1)
        return [part.reshape(len(rows), *spec.shape) for part, spec in zip(parts, self.specs, strict=True)]


def pixels_group(image: ImageSpec) -> TensorGroup:
    """What the encoder takes and the decoder gives."""
    shape = (image.height, image.width, image.channels)
    return TensorGroup((TensorSpec(name="pixels", dtype="uint8", shape=shape),))


def tokens_group(levels: Sequence[Level]) -> TensorGroup:
    """What the encoder gives and the decoder takes."""
    return TensorGroup(
        tuple(
            TensorSpec(name=tensor_name(level.name), dtype="int32", shape=level.latent_grid)
            for level in levels
        )
    )
