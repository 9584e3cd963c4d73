"""What a map's topology decides: how far tokens are apart, and where a move leads.

K codebook_size, G map dimensions (1 or 2), N tokens asked for, C moves, S steps of a path.

A token's place is a point of an integer lattice, which need not be its coordinates. A move is a difference of
two places, and leads as far from every token. Training computes distances by the same rules.
"""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from .map_edges import Edge
from .map_layout import Coordinates, map_sides

Integers = npt.NDArray[np.int64]


class MapGeometry(ABC):
    """A map of one topology. Each says in its docstring what its places are.

    Attributes:
        coordinates: int32 [K, G], column and row of each token.
        sides: (columns, rows) or (columns,).
        places: int64 [K, G], where each token lies on the lattice.
    """

    def __init__(self, coordinates: Coordinates) -> None:
        """Take the `coordinates` int32 [K, G] of the tokens."""
        self.coordinates = coordinates
        self.sides = map_sides(coordinates)
        self.places = self._places(coordinates.astype(np.int64))

    def distances(self, tokens: Integers, others: Integers) -> npt.NDArray[np.float64]:
        """Distances on the map of `tokens` from `others`, int64 of shapes that broadcast: float64."""
        return self.lengths(self.places[tokens] - self.places[others])

    @abstractmethod
    def lengths(self, moves: Integers) -> npt.NDArray[np.float64]:
        """Euclidean length of each of `moves` [..., G], in steps of the map: float64 [...]."""

    @abstractmethod
    def tokens_at(self, places: Integers) -> Integers:
        """The tokens at `places` [..., G]: int64 [...], -1 where there is none."""

    @abstractmethod
    def moves_within(self, radius: float) -> Integers:
        """The moves int64 [C, G] of at most `radius` that the map has room for, but for no move.

        No two of them lead from a token to the same other one.
        """

    @abstractmethod
    def innermost(self) -> Integers:
        """int64 [N]: tokens of which one has, within any distance, no fewer others than any token."""

    @abstractmethod
    def outermost(self) -> Integers:
        """int64 [N]: tokens of which one has, within any distance, no more others than any token."""

    @abstractmethod
    def shifted(self, tokens: Integers, *, offset: tuple[int, ...], edge: Edge) -> Integers:
        """`tokens` [...] moved by `offset`, a step of any size along each axis: int64 [...]."""

    @abstractmethod
    def path(self, start: Integers, end: Integers, *, num_steps: int) -> npt.NDArray[np.int32]:
        """Straight ways from `start` to `end`, both [...], in 2 or more steps with both ends: int32 [S, ...].

        Each step is rounded to the nearest node, in integers and without error: step 0 is `start`, the last
        one is `end`, and the way back is the same way.
        """

    def _places(self, coordinates: Integers) -> Integers:
        return coordinates
