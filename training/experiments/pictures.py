"""Pictures of what a model has learnt: its codebook on the map (Figure 4), images moved over it (Figure 5).

B: batch. H, W: pixels. h, w: latent grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..grid import Grid
from ..model import DOWNSAMPLING, VQVAE


@torch.inference_mode()
def codebook_picture(model: VQVAE, *, image_size: int) -> Tensor:
    """Each code decoded as a constant latent grid, at its place on the map, uint8 [rows*H, columns*W, 3].

    A map of one dimension is one row.
    """
    grid = model.quantizer.grid
    side = image_size // DOWNSAMPLING
    codes = torch.arange(grid.size, device=model.quantizer.codebook.device)
    tiles = torch.cat(
        [model.decode(part[:, None, None].expand(-1, side, side)).cpu() for part in torch.split(codes, 64)]
    )
    rows = 1 if len(grid.shape) == 1 else grid.shape[0]
    return _tile(tiles, rows=rows)


@torch.inference_mode()
def moved_picture(model: VQVAE, pixels: Tensor, *, offsets: range, grid: Grid) -> Tensor:
    """Images uint8 [B, H, W, 3], one a row: the original, then decoded with its tokens moved by each offset.

    The paper moves the tokens of a map along both of its axes, and those of EMA-VQ, which has none, by their
    number: for these ``grid`` is a line. Returns uint8 [B*H, (1 + offsets)*W, 3].
    """
    pixels = pixels.to(model.quantizer.codebook.device)
    indices = model.encode(pixels)
    columns = [pixels, *(model.decode(grid.shift(indices, offset)) for offset in offsets)]
    return _tile(torch.stack(columns, dim=1).flatten(0, 1).cpu(), rows=len(pixels))


def _tile(tiles: Tensor, *, rows: int) -> Tensor:
    """Tiles [rows*columns, H, W, 3], row by row, as one picture [rows*H, columns*W, 3]."""
    _, height, width, channels = tiles.shape
    return (
        tiles.view(rows, -1, height, width, channels)
        .permute(0, 2, 1, 3, 4)
        .reshape(rows * height, -1, channels)
    )
