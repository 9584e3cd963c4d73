"""A map of hexagons in rows.

K codebook_size, N tokens asked for, C moves, S steps of a path.
"""

import math

import numpy as np
import numpy.typing as npt

from .map_edges import Edge, walk
from .map_geometry import Integers, MapGeometry


class HexagonalMap(MapGeometry):
    """Rows of hexagons, sqrt(3)/2 apart, the odd ones half a step to the right; each touches six others.

    Places are "doubled coordinates" (2 x + (y odd), y): the sum of the two is even, and a move (dX, dY) is
    sqrt((dX^2 + 3 dY^2) / 4) long from wherever it starts.
    """

    def lengths(self, moves: Integers) -> npt.NDArray[np.float64]:
        squares: npt.NDArray[np.float64] = (np.square(moves.astype(np.float64)) * (1, 3)).sum(axis=-1)
        return np.sqrt(squares / 4)

    def tokens_at(self, places: Integers) -> Integers:
        columns, rows = self.sides
        y = places[..., 1]
        x = (places[..., 0] - y % 2) // 2
        on_map = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        return np.where(on_map, x + y * columns, -1)

    def moves_within(self, radius: float) -> Integers:
        columns, rows = self.sides
        reach_x = math.floor(min(2 * radius, 2 * columns - 1))
        reach_y = math.floor(min(2 * radius, rows - 1))
        steps = np.arange(-reach_x, reach_x + 1), np.arange(-reach_y, reach_y + 1)
        moves: Integers = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 2)
        moves = moves[moves.sum(axis=1) % 2 == 0]
        lengths = self.lengths(moves)
        return moves[(lengths > 0) & (lengths <= radius)]

    def innermost(self) -> Integers:
        columns, rows = self.sides
        # An odd row has its middle half a step further right; which row has most depends on the distance.
        middle = np.arange(max(rows // 2 - 1, 0), min(rows // 2 + 2, rows))
        return (columns - middle % 2) // 2 + middle * columns

    def outermost(self) -> Integers:
        columns, rows = self.sides
        # Both ends of the outer two rows: a row further in, but odd, may end further out.
        outer = np.unique(np.clip([0, 1, rows - 2, rows - 1], 0, rows - 1)) * columns
        return np.concatenate([outer, outer + columns - 1])

    def shifted(self, tokens: Integers, *, offset: tuple[int, ...], edge: Edge) -> Integers:
        """As `MapGeometry.shifted`. The second axis leads down and to the right, 60 degrees off the row.

        A step along it is half a step to the right: that far the token moves before `edge` stops or turns it
        in its new row.
        """
        columns, rows = self.sides
        x, y = np.moveaxis(self.coordinates[tokens].astype(np.int64), -1, 0)
        new_y = walk(y, step=offset[1], side=rows, edge=edge)
        new_x = walk(x + new_y // 2 - y // 2, step=offset[0], side=columns, edge=edge)
        return new_x + new_y * columns

    def path(self, start: Integers, end: Integers, *, num_steps: int) -> npt.NDArray[np.int32]:
        """As `MapGeometry.path`; a point as near to two hexagons goes to the lower row, or to the right."""
        tokens = np.empty((num_steps, *start.shape), dtype=np.int32)
        intervals = num_steps - 1
        for step in range(num_steps):
            # Places over the common denominator S - 1.
            points = self.places[start] * (intervals - step) + self.places[end] * step
            tokens[step] = self._nearest(points, denominator=intervals)
        return tokens

    def _nearest(self, points: Integers, *, denominator: int) -> Integers:
        """Tokens nearest to `points` [..., 2] / `denominator`, which lie between tokens of the map."""
        columns, rows = self.sides
        above = points[..., 1] // denominator
        tokens, squares = [], []
        for y in (above, np.minimum(above + 1, rows - 1)):
            # The place in this row that is nearest: 2 x + (y odd), x rounded to the nearest.
            x = (points[..., 0] - y % 2 * denominator + denominator) // (2 * denominator)
            x = np.clip(x, 0, columns - 1)
            away = points - np.stack([2 * x + y % 2, y], axis=-1) * denominator
            tokens.append(x + y * columns)
            squares.append((np.square(away) * (1, 3)).sum(axis=-1))
        return np.where(squares[1] <= squares[0], tokens[1], tokens[0])

    def _places(self, coordinates: Integers) -> Integers:
        x, y = coordinates.T
        return np.stack([2 * x + y % 2, y], axis=1)
