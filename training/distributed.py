"""Several processes that train one model, each on its share of every batch.

``torchrun`` starts the processes and says in the environment which is which. A collective (a sum over all
ranks) ends only when every rank calls it: none may stand in a branch that ranks can take differently.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from .errors import ConfigError, RanksError
from .quantizer import SumsOverRanks

FIRST_RANK_TIMEOUT = timedelta(hours=12)
"""For how long the others wait for the first rank, which may be decoding a data set."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together. A process alone is rank 0 of 1, and sums nothing."""

    rank: int = 0
    """Number of this process, from 0."""

    size: int = 1
    """Number of processes."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """``tensor`` with the sum over all ranks in place, on every rank. A collective.

        Raises RanksError where another rank has ended.
        """
        if self.size > 1:
            try:
                dist.all_reduce(tensor)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise RanksError(
                    f"rank {self.rank} of {self.size} waits for one that has ended and said why ({reason})"
                ) from None
        return tensor

    def mean_(self, tensor: Tensor) -> Tensor:
        """``tensor`` with the mean over all ranks in place, on every rank. A collective."""
        return self.sum_(tensor).div_(self.size)

    def copy_first_(self, tensor: Tensor) -> None:
        """``tensor`` of rank 0 in place of every rank's own. A collective."""
        self.sum_(tensor if self.is_first else tensor.zero_())

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on a rank. A collective, on the host: no device waits for it."""
        return bool(self.sum_(torch.tensor(int(flag))))

    def agree(self, number: int) -> bool:
        """Whether all ranks have the same number. A collective, on the host."""
        numbers = torch.zeros(self.size, dtype=torch.int64)
        numbers[self.rank] = number
        return bool((self.sum_(numbers) == number).all())

    def wait(self) -> None:
        """Go on when all ranks are here. A collective, on the host."""
        self.any(False)

    def share(self, indices: Tensor) -> Tensor:
        """This rank's equal share of a batch [B]. Raises ConfigError where B is no multiple of the ranks.

        Shares of one size let the mean over ranks of a gradient be the gradient of the whole batch.
        """
        if len(indices) % self.size:
            raise ConfigError(f"batch_size {len(indices)}: must be a multiple of the {self.size} processes")
        return indices.tensor_split(self.size)[self.rank]

    def data_parallel(self, model: nn.Module) -> nn.Module:
        """``model`` as the module to call in training: it starts equal, and learns alike, on all ranks.

        Gradients are averaged. Each quantizer sums its batch totals over the ranks before it counts or
        learns from them, so that all codebooks are that of one process with the whole batch; rank 0's are
        never copied to the others, which would lose what those have seen.
        """
        if self.size == 1:
            return model
        for module in model.modules():
            if isinstance(module, SumsOverRanks):
                module.sum_over_ranks = self.sum_
        return DistributedDataParallel(model, broadcast_buffers=False)


@contextmanager
def first_rank_first(ranks: Ranks) -> Iterator[None]:
    """Let rank 0 go through the block alone and the others after it: a download is made once."""
    if not ranks.is_first:
        ranks.wait()
    yield
    if ranks.is_first:
        ranks.wait()


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """The ranks that ``torchrun`` has started, each with its ``device``, or this process alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Batch totals are summed where the model is, flags on the host: a GPU is never waited for.
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=FIRST_RANK_TIMEOUT
    )
    try:
        yield Ranks(rank=dist.get_rank(), size=size)
    finally:
        dist.destroy_process_group()


def device_of_rank(name: str) -> str:
    """The device of this process where all were told ``name``: with ``cuda`` each has a GPU of its own."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if name == "cuda" and "LOCAL_RANK" in os.environ else name
