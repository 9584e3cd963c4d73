"""Four ways to train the same transformer on the same tokens; three of them know the map.

K codebook_size, G map dimensions, M tokens, D width of the transformer, C cells of the map.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ImageGPTForCausalImageModeling

from ..prior.transformer import Loss

Method = Literal["plain", "smoothed", "coordinates", "coarse-to-fine"]
METHODS: tuple[Method, ...] = get_args(Method)

# As transformers' ImageGPT begins its own tables.
_INITIAL_STD = 0.02


def apply_method(
    method: Method,
    model: ImageGPTForCausalImageModeling,
    *,
    coordinates: Tensor,
    soft_targets: Tensor,
    cell_shape: tuple[int, int],
) -> Loss:
    """Change `model` as `method` says, and give the loss to train it by.

    Whatever the method, the model's outputs are logits of the K codes, so that all are judged by one measure.

    Args:
        method: which.
        model: a fresh model.
        coordinates: int64 [K, 2], place (x, y) of each code on the map.
        soft_targets: float32 [K, K], of each code its weights over all codes.
        cell_shape: rows and columns of a cell of the map, for coarse-to-fine.
    """
    match method:
        case "smoothed":
            return lambda logits, tokens: F.cross_entropy(logits, soft_targets[tokens])
        case "coordinates":
            model.set_input_embeddings(MapEmbedding(coordinates, dim=model.config.n_embd))
        case "coarse-to-fine":
            model.lm_head = CellHead(coordinates, dim=model.config.n_embd, cell_shape=cell_shape)
        case "plain":
            pass
    return F.cross_entropy


class MapEmbedding(nn.Module):
    """A code's vector is the sum of one for its column and one for its row, instead of one of its own.

    The start symbol K lies one column and one row beyond the map.
    """

    places: Tensor

    def __init__(self, coordinates: Tensor, *, dim: int) -> None:
        """Take `coordinates` int64 [K, G] and the width `dim` of the transformer."""
        super().__init__()
        beyond = coordinates.max(dim=0).values + 1
        self.register_buffer("places", torch.cat([coordinates, beyond.unsqueeze(0)]))
        tables = [nn.Embedding(int(side) + 1, dim) for side in beyond]
        for table in tables:
            nn.init.normal_(table.weight, std=_INITIAL_STD)
        self.axes = nn.ModuleList(tables)

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors [..., D] of `tokens` [...], each 0 to K."""
        places = self.places[tokens]
        return torch.stack([axis(places[..., number]) for number, axis in enumerate(self.axes)]).sum(dim=0)


class CellHead(nn.Module):
    """Each code in two steps: its cell of the map, then the code among those of the cell.

    log p(k) = log p(cell of k) + log p(k | cell of k): exact, and the sum over all k of p(k) is 1. This is
    the class-based softmax of Goodman 2001 ("Classes for fast maximum entropy training"), with map cells as
    classes.
    """

    order: Tensor

    def __init__(self, coordinates: Tensor, *, dim: int, cell_shape: tuple[int, int]) -> None:
        """Take `coordinates` int64 [K, 2], the width `dim` of the transformer, and a cell's rows and columns.

        Raises:
            ValueError: the cells do not fill the map.
        """
        super().__init__()
        columns, rows = (coordinates.max(dim=0).values + 1).tolist()
        cell_rows, cell_columns = cell_shape
        if rows % cell_rows or columns % cell_columns:
            raise ValueError(f"cells of {cell_shape} do not fill a map of {(rows, columns)}; take divisors")
        cells = coordinates[:, 1] // cell_rows * (columns // cell_columns) + coordinates[:, 0] // cell_columns
        codes_by_cell = torch.argsort(cells, stable=True)
        # Where each code stands when the codes are sorted by cell.
        self.register_buffer("order", torch.argsort(codes_by_cell))
        self.cell_size = cell_rows * cell_columns
        self.coarse = nn.Linear(dim, len(cells) // self.cell_size, bias=False)
        self.fine = nn.Linear(dim, len(cells), bias=False)
        for layer in (self.coarse, self.fine):
            nn.init.normal_(layer.weight, std=_INITIAL_STD)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logarithms of probabilities [..., K] after `hidden` [..., D]."""
        coarse = self.coarse(hidden).log_softmax(dim=-1)
        fine = self.fine(hidden).unflatten(-1, (-1, self.cell_size)).log_softmax(dim=-1)
        by_code: Tensor = (coarse.unsqueeze(-1) + fine).flatten(-2)[..., self.order]
        return by_code
