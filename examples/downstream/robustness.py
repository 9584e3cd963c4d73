"""Wrong tokens: how much of the image is left when some are replaced, at random or by a neighbor on the map.

B images, H W pixels, h w latent grid, K codebook_size.
"""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from kohonen_tokenizer import Tokenizer
from kohonen_tokenizer.pixels import Pixels

from ..prior.token_dataset import TokenDataset

Flip = Literal["random", "neighbor"]
"""random: any other code. neighbor: one of the up to eight around on the map. Each of them as likely."""
FLIPS: tuple[Flip, ...] = get_args(Flip)
RATES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)

_PEAK = 255


def psnr_of_flips(
    tokenizer: Tokenizer, images: TokenDataset, *, source: Path, num_seeds: int
) -> dict[Flip, list[list[float]]]:
    """PSNR in dB of decoded images, mean over `images`: for each kind of flip [seed][rate of RATES].

    `source` is the folder that `images` were encoded from; they must have the model's size there.
    """
    originals = np.stack([np.asarray(Image.open(source / name).convert("RGB")) for name in images.ids])
    tokens = images.tokens.astype(np.int64).reshape(-1, *images.latent_grid)
    result: dict[Flip, list[list[float]]] = {flip: [] for flip in FLIPS}
    for flip in FLIPS:
        for seed in range(num_seeds):
            rng = np.random.default_rng(seed)
            # The same places at each rate and more of them, so that a curve shows the rate alone.
            order, others = rng.random(tokens.shape), _others(tokens, tokenizer, flip=flip, rng=rng)
            decoded = (tokenizer.decode(np.where(order < rate, others, tokens)) for rate in RATES)
            result[flip].append([_mean_psnr(pixels, originals) for pixels in decoded])
    return result


def _others(
    tokens: npt.NDArray[np.int64], tokenizer: Tokenizer, *, flip: Flip, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """For each of `tokens` the one that would take its place."""
    size = len(tokenizer.codebook.vectors)
    if flip == "random":
        return (tokens + rng.integers(1, size, size=tokens.shape)) % size
    table = tokenizer.topology.neighbor_table(radius=1.5).tokens
    counts = (table >= 0).sum(axis=1)
    # Rows of the table end in padding.
    chosen: npt.NDArray[np.int64] = table[tokens, rng.integers(0, counts[tokens])].astype(np.int64)
    return chosen


def _mean_psnr(decoded: Pixels, originals: Pixels) -> float:
    errors = np.square(decoded.astype(np.float64) - originals).mean(axis=(1, 2, 3))
    return float((10 * np.log10(_PEAK**2 / errors)).mean())
