"""What a quantizer is, in a run's configuration: the codebook, its map and how it learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

MAX_CODEBOOK_SIZE = 8192
"""The neighborhood is a K x K matrix, made anew each step: 256 MiB in float32 at this size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizerConfig:
    """The codebook, its map and how it learns."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    method: Literal["kohonen", "residual", "gradient", "som_vae", "softmax"] = "kohonen"
    """How the codes are learnt. ``kohonen``, by the map; ``residual``, by several maps, each of what the ones
    before it left; and, to compare with, ``gradient``, ``som_vae`` and ``softmax`` of the baselines."""

    codebook_size: int = 512
    """Number of codes, K."""

    map_shape: tuple[int, ...] = (16, 32)
    """(rows, columns) of the map, or (n,) for a line; the product is the codebook size."""

    map_topology: Literal["rectangular", "toroidal", "hexagonal"] = "rectangular"
    """``rectangular`` has edges, ``toroidal`` wraps round, and in ``hexagonal`` a code has six neighbors."""

    initialization: Literal["normal", "first_batch", "k_means"] = "normal"
    """The first codes: drawn from N(0, 1), or latents of the first batch, or their k-means centers; the last
    two are laid on the map along their principal components."""

    neighborhood: Literal["none", "hard", "gaussian", "gaussian_wide"] = "hard"
    """``none`` is EMA-VQ; ``gaussian`` Eq. 5 as printed; ``gaussian_wide`` the form behind the tables."""

    shrink_step: float = 0.1
    """tau of Eqs. 4-5; unused with neighborhood ``none``, and with the methods ``gradient`` and ``som_vae``,
    which have no neighborhood."""

    decay: float = 0.99
    """Decay of the moving averages, 1 - beta of Eqs. 16-21."""

    epsilon: float = 1e-5
    """Additive smoothing of the counts."""

    initial_count: float = 1.0
    """N(0): 1 as the paper recommends, 0 as older implementations do."""

    update_unused: bool = True
    """Whether codes that a batch does not reach have their averages decayed."""

    min_members: float = 0.0
    """Codes with fewer members a batch, in the moving average, are refilled from their neighbors on the map;
    0 for never. This and the four above are of the methods ``kohonen`` and ``residual``."""

    num_stages: int = 2
    """Codes that add up to a latent, with the method ``residual``."""

    neighbor_weight: float = 1.0
    """Weight of the SOM loss beside the codebook loss, with the method ``som_vae``."""

    temperature: tuple[float, float] = (1.0, 0.01)
    """First and last temperature of the method ``softmax``."""

    anneal_steps: int = 10_000
    """Steps from the first to the last temperature."""

    def __post_init__(self) -> None:
        if not 3 <= self.codebook_size <= MAX_CODEBOOK_SIZE:
            raise ValueError(f"codebook_size {self.codebook_size}: must be 3 to {MAX_CODEBOOK_SIZE}")
        # The map's fit and the other numbers are judged by the grid and the quantizer themselves.
