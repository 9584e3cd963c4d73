"""What the methods are tried on: tokens of a map, of a codebook without order, and of a map out of order."""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from ..prior.token_dataset import TokenDataset

TokenSet = Literal["map", "unordered", "permuted"]
"""map: tokens of the Kohonen map. unordered: tokens of its EMA-VQ twin, whose codes lie on the same grid by
chance. permuted: tokens of the Kohonen map whose numbers have been shuffled, but not the grid: the same
sequences up to names, while every part that knows the map is told a wrong one."""
TOKEN_SETS: tuple[TokenSet, ...] = get_args(TokenSet)


def permuted(dataset: TokenDataset, *, seed: int) -> TokenDataset:
    """The same images with the codes renumbered at random."""
    numbers = np.random.default_rng(seed).permutation(dataset.codebook_size)
    return replace(dataset, tokens=numbers[dataset.tokens].astype(dataset.tokens.dtype))
