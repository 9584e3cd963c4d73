"""A picture of one value for each code of a map, such as its U-matrix."""

from __future__ import annotations

import math

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from .grid import Grid, HexagonalGrid


def draw_map(values: Tensor, grid: Grid, *, cell_pixels: int = 24) -> Image.Image:
    """The ``values`` [K] of the codes of ``grid`` as gray cells: the least is black, the greatest white.

    Cells are squares of ``cell_pixels``, or hexagons as wide, row by row and the first row on top; a line is
    one row. Equal values are middle gray. Raises ValueError if a value is not finite.
    """
    if not values.isfinite().all():
        raise ValueError("the map has values that are not finite; a U-matrix needs two codes or more")
    span = values.max() - values.min()
    shares = (values - values.min()) / span if span > 0 else torch.full_like(values, 0.5)
    grays = (shares * 255).round().int().tolist()
    centers = grid.positions()
    if centers.shape[1] == 1:
        centers = torch.cat([centers, torch.zeros_like(centers)], dim=1)
    corners = _hexagon() if isinstance(grid, HexagonalGrid) else _square()
    outlines = (centers[:, None] + corners) * cell_pixels
    outlines -= outlines.amin((0, 1))
    width, height = outlines.amax((0, 1)).ceil().int().tolist()
    picture = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(picture)
    for gray, outline in zip(grays, outlines.tolist(), strict=True):
        # The last row and column of pixels of a polygon are its neighbor's first.
        draw.polygon([(x, y) for x, y in outline], fill=gray)
    return picture


def _square() -> Tensor:
    """Corners [4, 2] of a square with sides of 1 around 0."""
    return torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64) / 2


def _hexagon() -> Tensor:
    """Corners [6, 2] of a hexagon of width 1 around 0, which stands on a corner."""
    angles = torch.arange(6, dtype=torch.float64) * math.pi / 3 + math.pi / 6
    return torch.stack([angles.cos(), angles.sin()], dim=1) / math.sqrt(3)
