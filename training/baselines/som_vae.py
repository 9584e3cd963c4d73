"""The codebook of the SOM-VAE (Fortuin et al. 2019), the closest relative of the Kohonen-VAE.

N: vectors in the batch (B*h*w). K: codebook size. D: code dimension.
"""

from __future__ import annotations

import math

from torch import Tensor

from ..grid import Grid
from ..quantizer import assignment_sums
from .gradient import GradientQuantizer


class SomVaeQuantizer(GradientQuantizer):
    """A gradient-trained codebook whose members pull the neighbors of their code as well.

    To the codebook loss it adds ``neighbor_weight`` times the SOM loss: the sum over the neighbors e of the
    chosen code of ||e - sg[z_e(x)]||^2, as a mean over elements. Neighbors are the four that share an edge
    with it (or all six of a hexagonal map), and unlike Kohonen's this neighborhood does not shrink. The
    SOM-VAE also decodes the encoder's output without quantization; this is its codebook alone.
    """

    neighbors: Tensor

    def __init__(self, grid: Grid, *, code_dim: int, neighbor_weight: float) -> None:
        """``neighbor_weight``: beta / alpha of the published loss, the weights of its two terms."""
        super().__init__(grid, code_dim=code_dim)
        if not 0 <= neighbor_weight < math.inf:
            raise ValueError(
                f"neighbor_weight {neighbor_weight}: must be finite and not negative; use e.g. 1"
            )
        self.neighbor_weight = neighbor_weight
        self.register_buffer("neighbors", grid.adjacency(connectivity=4).float(), persistent=False)

    def codebook_loss(self, vectors: Tensor, *, indices: Tensor, chosen: Tensor) -> Tensor:
        """Both losses of the codebook, []."""
        own = super().codebook_loss(vectors, indices=indices, chosen=chosen)
        # By linearity, as in the Kohonen map, neighbors are reached through the members' sums, [K, D+1].
        totals = self.neighbors.to(vectors.dtype) @ assignment_sums(vectors, indices, self.grid.size)
        sums, counts = totals[:, :-1], totals[:, -1]
        pull = (counts * self.codebook.square().sum(1)).sum() - 2 * (self.codebook * sums).sum()
        num_neighbors = self.neighbors.sum(1)[indices].to(vectors.dtype)
        pull = pull + (num_neighbors * vectors.square().sum(1)).sum()
        return own + self.neighbor_weight * pull / vectors.numel()
