"""How a step of training is computed; what it computes stays the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedConfig:
    """Choices that trade numerical detail or a wait at the start for time. The defaults are the recipe's."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the encoder's and decoder's products in training. The quantizer and validations are in float32."""

    compile: bool = False
    """Whether torch.compile makes kernels for the encoder and decoder, for some minutes at the start."""
