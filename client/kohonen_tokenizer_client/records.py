"""What the service says of its models, in names and shapes of the in-process tokenizer.

H W pixels, h w latent grid, K codebook_size, D code_dim, G map dimensions (1 or 2).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import InputError

Pixels = npt.NDArray[np.uint8]
Tokens = npt.NDArray[np.int32]
IntegerTokens = npt.NDArray[np.integer]
Grids: TypeAlias = Tokens | dict[str, Tokens]
"""Tokens of the only level; of several, those of each by its name."""
IntegerGrids: TypeAlias = IntegerTokens | Mapping[str, IntegerTokens]
"""The same, of any integer dtype."""


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
    levels: tuple[Level, ...]
    """In the service's order; most models have one."""

    @property
    def level(self) -> Level:
        """The only level.

        Raises:
            InputError: there are several.
        """
        return self.choose()

    @property
    def codebook_hash(self) -> str:
        """That of the only level; of several, SHA-256 of a line for each with its name and its hash."""
        if len(self.levels) == 1:
            return self.levels[0].codebook_hash
        lines = "".join(f"{level.name} {level.codebook_hash}\n" for level in self.levels)
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def latent_grids(self) -> dict[str, tuple[int, int]]:
        """By level, the shape (h, w) of an image's tokens."""
        return {level.name: level.latent_grid for level in self.levels}

    def choose(self, name: str | None = None) -> Level:
        """The level of that name; without one, the only level there is.

        Raises:
            InputError: no such level, or no name where there are several.
        """
        for level in self.levels:
            if level.name == name or (name is None and len(self.levels) == 1):
                return level
        what = "no level is named" if name is None else f"level {name!r} is unknown"
        names = ", ".join(level.name for level in self.levels)
        raise InputError(
            f"{what}; this model has {names}; give one of these as the level", code="invalid_parameter"
        )


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
