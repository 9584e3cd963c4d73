"""Arrays from callers, checked before a graph sees them.

B batch, H W pixels, h w latent grid, K codebook_size.

They take any object, for callers without a type checker.
"""

import numpy as np
import numpy.typing as npt

from kohonen_tokenizer.pixels import Pixels

from ..errors import PixelsError, TokenRangeError, TokensError
from .manifest import Level


def check_pixels(images: object, *, shape: tuple[int, int, int]) -> Pixels:
    """`images` uint8 [B, H, W, 3], of that `shape` each.

    Raises:
        PixelsError: anything else.
    """
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[1:] != shape
    ):
        height, width, channels = shape
        raise PixelsError(
            f"images are {describe(images)}; this model takes uint8 [B, {height}, {width}, {channels}]"
        )
    return images


def check_grids(tokens: object, *, level: Level) -> npt.NDArray[np.int32]:
    """`tokens` of one level as int32 [B, h, w].

    Raises:
        TokensError: not integers [B, h, w] of the level's latent grid.
        TokenRangeError: a token that is no code of the level.
    """
    grid = level.latent_grid
    if (
        not isinstance(tokens, np.ndarray)
        or tokens.dtype.kind not in "iu"
        or tokens.ndim != 3
        or tokens.shape[1:] != grid
    ):
        raise TokensError(
            f"tokens are {describe(tokens)}; this model takes integers [B, {grid[0]}, {grid[1]}]"
        )
    # Before the cast to int32, which would wrap a large number round into the range.
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < level.codebook_size:
        outside = (tokens < 0) | (tokens >= level.codebook_size)
        place = tuple(np.argwhere(outside)[0].tolist())
        raise TokenRangeError(
            f"token {tokens[place]} at {list(place)} is outside 0 to {level.codebook_size - 1}; "
            "decode with the model that made the tokens"
        )
    return tokens.astype(np.int32)


def describe(value: object) -> str:
    """What an array is, or another object that is none."""
    if not isinstance(value, np.ndarray):
        return f"of type {type(value).__name__} and no numpy array"
    return f"{value.dtype} {list(value.shape)}"
