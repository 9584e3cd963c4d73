"""The two tensors of a graph, as the manifest has them, whatever engine runs it.

B batch, H W pixels, h w latent grid.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .manifest import ImageSpec, Level

Rows = npt.NDArray[Any]
"""A batch of either tensor: pixels uint8 [B, H, W, 3] or tokens int32 [B, h, w]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """A graph's only input or only output; the batch comes before `shape`."""

    name: str
    dtype: Literal["uint8", "int32"]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [B, {', '.join(map(str, self.shape))}]"

    def zeros(self, batch_size: int) -> Rows:
        """A batch of black pixels, or of the first token."""
        return np.zeros((batch_size, *self.shape), dtype=self.dtype)


def pixels_spec(image: ImageSpec) -> TensorSpec:
    """What the encoder takes and the decoder gives."""
    return TensorSpec(name="pixels", dtype="uint8", shape=(image.height, image.width, image.channels))


def tokens_spec(level: Level) -> TensorSpec:
    """What the encoder gives and the decoder takes."""
    return TensorSpec(name="tokens", dtype="int32", shape=level.latent_grid)
