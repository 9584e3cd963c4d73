"""Pictures of what a model has learnt: its codebook on the map (Figure 4), images moved over it (Figure 5).

B: batch. H, W: pixels. h, w: latent grid.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..autoencoder import QuantizedAutoencoder
from ..grid import Grid

CODES_AT_ONCE = 64


@torch.inference_mode()
def codebook_picture(
    model: QuantizedAutoencoder, *, level: str, image_size: int, fixed: Mapping[str, int] | None = None
) -> Tensor:
    """Each code of ``level`` decoded as a constant latent grid, at its place on the map.

    Other levels have everywhere the code that ``fixed`` has for them, by default the one in the middle of
    their map (Figure 7). Returns uint8 [rows*H, columns*W, 3]; a map of one dimension is one row.
    """
    fixed = fixed or {name: other.grid.middle for name, other in model.quantizers.items()}
    grid = model.quantizers[level].grid
    device = model.quantizers[level].codebook.device

    def constant(name: str, codes: Tensor) -> Tensor:
        height, width = model.latent_grid(name, image_size=image_size)
        return codes[:, None, None].expand(-1, height, width)

    tiles = []
    for codes in torch.split(torch.arange(grid.size, device=device), CODES_AT_ONCE):
        by_level = {name: torch.full_like(codes, code) for name, code in fixed.items()} | {level: codes}
        indices = {name: constant(name, each) for name, each in by_level.items()}
        tiles.append(model.decode(indices).cpu())
    rows = 1 if len(grid.shape) == 1 else grid.shape[0]
    return _tile(torch.cat(tiles), rows=rows)


@torch.inference_mode()
def moved_picture(
    model: QuantizedAutoencoder, pixels: Tensor, *, offsets: range, grids: Mapping[str, Grid]
) -> Tensor:
    """Images uint8 [B, H, W, 3], one a row: the original, then decoded with its tokens moved by each offset.

    The levels of ``grids`` are moved, others stay (Figures 8 and 9). The paper moves the tokens of a map
    along both of its axes, and those of EMA-VQ, which has none, by their number: for these a grid is a line.
    Returns uint8 [B*H, (1 + offsets)*W, 3].
    """
    pixels = pixels.to(model.pixel_mean.device)
    indices = model.encode(pixels)
    columns = [pixels]
    for offset in offsets:
        moved = {level: grid.shift(indices[level], offset) for level, grid in grids.items()}
        columns.append(model.decode(indices | moved))
    return _tile(torch.stack(columns, dim=1).flatten(0, 1).cpu(), rows=len(pixels))


def _tile(tiles: Tensor, *, rows: int) -> Tensor:
    """Tiles [rows*columns, H, W, 3], row by row, as one picture [rows*H, columns*W, 3]."""
    _, height, width, channels = tiles.shape
    return (
        tiles.view(rows, -1, height, width, channels)
        .permute(0, 2, 1, 3, 4)
        .reshape(rows * height, -1, channels)
    )
