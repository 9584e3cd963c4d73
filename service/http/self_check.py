"""What a model must do before it takes requests: a bundle whose files are whole may still not work.

K codebook_size, h w latent grid.
"""

import numpy as np

from ..errors import GraphError
from ..runtime.tokenizer import Tokenizer

_MAX_TILES = 16
# Another batch size may take other kernels, which settle a near-tie of two codes, or a rounding, otherwise.
_MIN_EQUAL_TOKENS = 0.9
_MAX_PIXEL_STEP = 4


def check_model(tokenizer: Tokenizer) -> None:
    """Return if the model decodes tiles of its map and encodes them again, alone as in a batch.

    Raises:
        GraphError: what comes out is out of range, or depends on what else is in the batch.
        Exception: whatever the model fails with.
    """
    size = tokenizer.level.codebook_size
    codes = np.linspace(0, size - 1, num=min(size, _MAX_TILES)).astype(np.int32)
    grids = np.broadcast_to(codes[:, None, None], (len(codes), *tokenizer.level.latent_grid))
    tiles = tokenizer.decode(grids)
    tokens = tokenizer.encode(tiles)
    if tokens.min() < 0 or tokens.max() >= size:
        raise GraphError(
            f"the encoder gives tokens from {tokens.min()} to {tokens.max()}, and the codebook has "
            f"0 to {size - 1}; export the bundle again"
        )
    alone = [slice(place, place + 1) for place in range(len(codes))]
    equal = np.mean(np.concatenate([tokenizer.encode(tiles[place]) for place in alone]) == tokens)
    if equal < _MIN_EQUAL_TOKENS:
        raise _depends_on_batch("encoder", f"{equal:.0%} of the tokens are the same")
    tiles_alone = np.concatenate([tokenizer.decode(grids[place]) for place in alone])
    step = np.abs(tiles_alone.astype(int) - tiles).max()
    if step > _MAX_PIXEL_STEP:
        raise _depends_on_batch("decoder", f"pixels differ by {step} of 255")


def _depends_on_batch(graph: str, what: str) -> GraphError:
    return GraphError(
        f"the {graph} gives another result alone than in a batch: {what}; export the bundle again"
    )
