"""What a model must do before it takes requests: a bundle whose files are whole may still not work.

K codebook_size, h w latent grid.
"""

import numpy as np

from ..errors import GraphError
from ..runtime.backend import Tokens
from ..runtime.manifest import Level, tensor_name
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
    levels = [one.level for one in tokenizer.levels.values()]
    num_tiles = min(_MAX_TILES, *(level.codebook_size for level in levels))
    grids = tokenizer.check_tokens({level.name: _constant_grids(level, num_tiles) for level in levels})
    tiles = tokenizer.decode_rows(grids)
    tokens = tokenizer.encode_rows(tiles)
    for level, found in zip(levels, tokenizer.split_rows(tokens).values(), strict=True):
        if found.min() < 0 or found.max() >= level.codebook_size:
            raise GraphError(
                f"the encoder gives {tensor_name(level.name)} from {found.min()} to {found.max()}, and the "
                f"codebook has 0 to {level.codebook_size - 1}; export the bundle again"
            )
    alone = [slice(place, place + 1) for place in range(num_tiles)]
    equal = np.mean(np.concatenate([tokenizer.encode_rows(tiles[place]) for place in alone]) == tokens)
    if equal < _MIN_EQUAL_TOKENS:
        raise _depends_on_batch("encoder", f"{equal:.0%} of the tokens are the same")
    tiles_alone = np.concatenate([tokenizer.decode_rows(grids[place]) for place in alone])
    step = np.abs(tiles_alone.astype(int) - tiles).max()
    if step > _MAX_PIXEL_STEP:
        raise _depends_on_batch("decoder", f"pixels differ by {step} of 255")


def _constant_grids(level: Level, num_grids: int) -> Tokens:
    codes = np.linspace(0, level.codebook_size - 1, num=num_grids).astype(np.int32)
    return np.broadcast_to(codes[:, None, None], (num_grids, *level.latent_grid))


def _depends_on_batch(graph: str, what: str) -> GraphError:
    return GraphError(
        f"the {graph} gives another result alone than in a batch: {what}; export the bundle again"
    )
