"""What is done about dead codes: those that hardly any vector of the batches is nearest to.

K: codebook size. D: code dimension.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from .grid import Grid


class MapState(Protocol):
    """The state of a quantizer that a revival may change, in place."""

    codebook: Tensor
    """Codes [K, D]."""
    ema_sums: Tensor
    """Averages of the members' sums, neighbors' shares included, [K, D]."""
    ema_counts: Tensor
    """Averages of the members' counts, neighbors' shares included, [K]."""


class Revival(nn.Module, ABC):
    """A rule for dead codes; it may have state of its own, which travels with the quantizer."""

    @abstractmethod
    def after_update(self, state: MapState, counts: Tensor) -> None:
        """Called after each update of the averages, with the batch's ``counts`` of members [K]."""


class NoRevival(Revival):
    """Dead codes are left alone; on a map their neighbors pull them along."""

    def after_update(self, state: MapState, counts: Tensor) -> None:
        pass


class NeighborRevival(Revival):
    """Refill a dead code from the living ones around it on the map.

    A code is dead when the moving average of its own members a batch falls under ``min_members``: without the
    neighbors' shares, which hide it. Its vector, and the count behind it, become the means of those of its
    living neighbors on the grid, and the sums follow: random inputs in their place would tear the map. A code
    without living neighbors waits until they have come to life. Where the refilled code counts from then on
    is decided as for any other: its average of members starts at ``initial_members`` again.
    """

    member_counts: Tensor
    adjacency: Tensor

    def __init__(
        self, grid: Grid, *, min_members: float, decay: float = 0.99, initial_members: float = 1.0
    ) -> None:
        """A rule for the codes of ``grid``. ``decay`` is that of the quantizer's averages.

        Raises ValueError unless 0 < ``min_members`` < ``initial_members``.
        """
        super().__init__()
        if not 0 < min_members < initial_members:
            raise ValueError(
                f"min_members {min_members}: must be over 0 and under {initial_members}, where a code "
                "starts; use e.g. 0.1"
            )
        self.min_members = min_members
        self.decay = decay
        self.initial_members = initial_members
        self.register_buffer("member_counts", torch.full((grid.size,), initial_members))
        self.register_buffer("adjacency", grid.adjacency(connectivity=8), persistent=False)

    @torch.no_grad()
    def after_update(self, state: MapState, counts: Tensor) -> None:
        """Refill what is dead after this batch. No value leaves the device."""
        self.member_counts.lerp_(counts.to(self.member_counts.dtype), 1 - self.decay)
        dead = self.member_counts < self.min_members
        living_neighbors = (self.adjacency & ~dead).to(state.codebook.dtype)
        num_living = living_neighbors.sum(1)
        refilled = dead & (num_living > 0)
        shares = living_neighbors / num_living.clamp(min=1)[:, None]
        codes, weights = shares @ state.codebook, shares @ state.ema_counts
        state.codebook.copy_(torch.where(refilled[:, None], codes, state.codebook))
        state.ema_counts.copy_(torch.where(refilled, weights, state.ema_counts))
        state.ema_sums.copy_(torch.where(refilled[:, None], codes * weights[:, None], state.ema_sums))
        self.member_counts.masked_fill_(refilled, self.initial_members)
