"""What the service says of its models, in names and shapes of the in-process tokenizer.

H W pixels, h w latent grid, K codebook_size, D code_dim, G map dimensions (1 or 2).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Tokens = npt.NDArray[np.int32]
IntegerTokens = npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One grid of tokens of an image and the codebook behind it."""

    name: str
    latent_grid: tuple[int, int]
    """(h, w): the tokens of an image."""
    map_shape: tuple[int, ...]
    """(rows, columns) of the map, or (K,) for a line of codes."""
    map_topology: str
    """What is near what on the map: "rectangular", "toroidal" or "hexagonal"."""
    codebook_size: int
    code_dim: int
    codebook_hash: str
    """SHA-256 of the code vectors: equal hashes, equal tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model that the service runs."""

    name: str
    version: str
    description: str
    license: str
    image_shape: tuple[int, int, int]
    """(H, W, 3) of the images that it takes and makes."""
    level: Level


@dataclass(frozen=True, kw_only=True, slots=True)
class Codebook:
    """The vectors of all tokens and their places on the map."""

    vectors: npt.NDArray[np.float32]
    """float32 [K, D]"""
    coordinates: npt.NDArray[np.int32]
    """int32 [K, G]: (x, y) of each token on a 2-D map, (x,) on a 1-D map."""
    sha256: str
    """Of the vectors, in little-endian float32 and C order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbor:
    """A token near another one, with both of its distances from it."""

    token: int
    coordinates: tuple[int, ...]
    """(x, y) on a 2-D map, (x,) on a 1-D map."""
    grid_distance: float
    """Euclidean on the map."""
    codebook_distance: float
    """Euclidean between the code vectors."""
