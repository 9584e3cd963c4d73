"""What runs the graphs: the one thing that a tokenizer asks of an inference engine.

B batch, H W pixels, h w latent grid.
"""

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from kohonen_tokenizer.pixels import Pixels

from .tensors import Rows
from .threads import available_threads

Tokens = npt.NDArray[np.int32]
"""Token grids [B, h, w] of one level, or rows [B, T] of several, see `tensors`."""

Graph = Callable[[Rows], Rows]
"""One half of a model: pixels to tokens, or tokens to pixels."""

IMAGES_PER_THREAD: Final = 32
"""Images of one run on the CPU, for each of its threads: from here on more gain nothing."""


class Backend(Protocol):
    """Runs one bundle's model. Calls may come from several threads at once."""

    @property
    def description(self) -> str:
        """The engine, its version, the device and how it uses it: a line for people."""

    @property
    def is_on_cpu(self) -> bool:
        """Whether its runs take the CPUs that read images too."""

    @property
    def num_parallel_runs(self) -> int:
        """Runs at once that the device gains from."""

    @property
    def max_batch_size(self) -> int:
        """Images of one run from which on a larger batch gains nothing. A call may have more."""

    def encode(self, pixels: Pixels) -> Tokens:
        """Rows of tokens, int32, of pixels uint8 [B, H, W, 3], for a B of at least 1; see `tensors`."""

    def decode(self, tokens: Tokens) -> Pixels:
        """Pixels uint8 [B, H, W, 3] of rows of tokens, int32, for a B of at least 1."""


class GraphBackend:
    """A backend of two graphs that were made ready; what loads them for an engine is a subclass.

    Attributes:
        description: see `Backend`.
        is_on_cpu: see `Backend`.
        num_parallel_runs: see `Backend`.
        max_batch_size: see `Backend`.
    """

    def __init__(
        self,
        encoder: Graph,
        *,
        decoder: Graph,
        description: str,
        is_on_cpu: bool,
        num_parallel_runs: int,
        max_batch_size: int,
    ) -> None:
        """Take graphs that fit one bundle and that several threads may call."""
        self._encoder = encoder
        self._decoder = decoder
        self.description = description
        self.is_on_cpu = is_on_cpu
        self.num_parallel_runs = num_parallel_runs
        self.max_batch_size = max_batch_size

    def encode(self, pixels: Pixels) -> Tokens:
        """Rows of tokens, int32, of pixels uint8 [B, H, W, 3]."""
        return self._encoder(pixels)

    def decode(self, tokens: Tokens) -> Pixels:
        """Pixels uint8 [B, H, W, 3] of rows of tokens, int32."""
        return self._decoder(tokens)


def count_cpu_threads(num_threads: int | None) -> int:
    """Threads of a run on the CPU: `num_threads`, or as many as this process may use.

    Raises:
        ValueError: `num_threads` below 1.
    """
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"num_threads is {num_threads}; it must be 1 or more")
    return num_threads or available_threads()


def describe_threads(num_threads: int) -> str:
    """What a backend on the CPU says of its threads."""
    return f"{num_threads} thread{'s' if num_threads > 1 else ''} a run"


def count_cpu_runs(num_threads: int) -> int:
    """Runs of `num_threads` threads that the CPUs of this process have room for at once, at least 1."""
    return max(1, available_threads() // num_threads)
