"""What runs the graphs: the one thing that a tokenizer asks of an inference engine.

B batch, H W pixels, h w latent grid.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from kohonen_tokenizer.pixels import Pixels

Tokens = npt.NDArray[np.int32]


class Backend(Protocol):
    """Runs one bundle's model. Calls may come from several threads at once."""

    def encode(self, pixels: Pixels) -> Tokens:
        """Tokens int32 [B, h, w] of pixels uint8 [B, H, W, 3], for a B of at least 1."""

    def decode(self, tokens: Tokens) -> Pixels:
        """Pixels uint8 [B, H, W, 3] of tokens int32 [B, h, w], for a B of at least 1."""
