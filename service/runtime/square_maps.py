"""Maps of squares: the paper's rectangle, and the torus that it becomes when opposite edges are joined.

K codebook_size, G map dimensions (1 or 2), N tokens asked for, C moves, S steps of a path.
"""

import math

import numpy as np
import numpy.typing as npt

from .map_edges import Edge, walk
from .map_geometry import Integers, MapGeometry
from .map_layout import Coordinates, map_strides


class RectangularMap(MapGeometry):
    """Places are coordinates; the map ends at its edges (Irie et al. 2023)."""

    def __init__(self, coordinates: Coordinates) -> None:
        super().__init__(coordinates)
        self._strides = map_strides(self.sides)

    def lengths(self, moves: Integers) -> npt.NDArray[np.float64]:
        squares: npt.NDArray[np.float64] = np.square(moves.astype(np.float64)).sum(axis=-1)
        return np.sqrt(squares)

    def tokens_at(self, places: Integers) -> Integers:
        on_map = ((places >= 0) & (places < self.sides)).all(axis=-1)
        return np.where(on_map, places @ self._strides, -1)

    def moves_within(self, radius: float) -> Integers:
        reaches = [math.floor(min(radius, side - 1)) for side in self.sides]
        return self._disc([np.arange(-reach, reach + 1) for reach in reaches], radius=radius)

    def innermost(self) -> Integers:
        return self.tokens_at(self.places[-1] // 2)[np.newaxis]

    def outermost(self) -> Integers:
        return np.zeros(1, dtype=np.int64)

    def shifted(self, tokens: Integers, *, offset: tuple[int, ...], edge: Edge) -> Integers:
        places = self.places[tokens]
        for axis, (side, step) in enumerate(zip(self.sides, offset, strict=True)):
            places[..., axis] = walk(places[..., axis], step=step, side=side, edge=edge)
        return self.tokens_at(places)

    def path(self, start: Integers, end: Integers, *, num_steps: int) -> npt.NDArray[np.int32]:
        """As `MapGeometry.path`; from the middle between two nodes a coordinate goes to the greater one."""
        first = self.places[start]
        way = self._way(self.places[end] - first)
        tokens = np.empty((num_steps, *start.shape), dtype=np.int32)
        intervals = num_steps - 1
        for step in range(num_steps):
            # floor(x + 1/2) of the place x, over the common denominator 2 (S - 1).
            places = (2 * (first * intervals + way * step) + intervals) // (2 * intervals)
            tokens[step] = self.tokens_at(places)
        return tokens

    def _way(self, moves: Integers) -> Integers:
        """The move, of all that lead to the same place, that a path takes."""
        return moves

    def _disc(self, axes: list[Integers], *, radius: float) -> Integers:
        """The moves [C, G] of all combinations of steps in `axes` that are no longer than `radius`, but 0."""
        moves = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        lengths = self.lengths(moves)
        return moves[(lengths > 0) & (lengths <= radius)]


class ToroidalMap(RectangularMap):
    """Places are coordinates modulo the sides: who leaves on the right comes in on the left.

    There are no edges, so that `shifted` has no use for `edge`, and each token has as many neighbors.
    """

    def lengths(self, moves: Integers) -> npt.NDArray[np.float64]:
        sides = np.array(self.sides)
        return super().lengths(np.minimum(moves % sides, -moves % sides))

    def tokens_at(self, places: Integers) -> Integers:
        tokens: Integers = places % self.sides @ self._strides
        return tokens

    def moves_within(self, radius: float) -> Integers:
        # One move of each that are equal modulo the side.
        axes = [
            np.arange(-math.floor(min(radius, (side - 1) // 2)), math.floor(min(radius, side // 2)) + 1)
            for side in self.sides
        ]
        return self._disc(axes, radius=radius)

    def innermost(self) -> Integers:
        return self.outermost()

    def shifted(self, tokens: Integers, *, offset: tuple[int, ...], edge: Edge) -> Integers:
        # Before the sum, in Python's integers, which do not overflow.
        steps = [step % side for step, side in zip(offset, self.sides, strict=True)]
        return self.tokens_at(self.places[tokens] + np.array(steps))

    def _way(self, moves: Integers) -> Integers:
        """The shorter way round; where both are as long, the one that crosses no edge of the picture."""
        sides = np.array(self.sides)
        return np.where(2 * np.abs(moves) > sides, moves - np.sign(moves) * sides, moves)
