"""Token grids in files: as .npy, or as JSON like the reply of POST /encode.

B images, h w latent grid.
"""

import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kohonen_tokenizer.atomic_file import write_atomically

from .errors import TokensError
from .runtime.backend import Tokens
from .runtime.tokenizer import Tokenizer

TokenGrids = npt.NDArray[np.integer]


def write_token_file(path: Path, tokens: Tokens) -> None:
    """Write `tokens` int32 [B, h, w] to `path` as .npy, whole or not at all."""
    content = io.BytesIO()
    np.save(content, tokens, allow_pickle=False)
    write_atomically(path, content.getvalue())


def read_token_file(path: Path, *, tokenizer: Tokenizer) -> TokenGrids:
    """The token grids in `path`, .npy or .json; their shape and range are for the tokenizer to check.

    Raises:
        TokensError: another file, or JSON that names another codebook than that of `tokenizer`.
        OSError: there is no such file, or it cannot be read.
    """
    content = path.read_bytes()
    try:
        if path.suffix == ".npy":
            tokens: TokenGrids = np.load(io.BytesIO(content), allow_pickle=False)
            return tokens
        if path.suffix == ".json":
            return _from_json(json.loads(content), tokenizer=tokenizer)
    except (ValueError, EOFError) as error:
        raise TokensError(f"the file does not read as {path.suffix} ({error}); write it again") from None
    raise TokensError(f"the file ends in {path.suffix!r}; give a .npy or .json file")


def _from_json(content: object, *, tokenizer: Tokenizer) -> TokenGrids:
    match content:
        case {"tokens": list(tokens), **others}:
            codebook_hash = others.get("codebook_hash", tokenizer.codebook.sha256)
            if codebook_hash != tokenizer.codebook.sha256:
                raise TokensError(
                    f"the tokens are of codebook {codebook_hash}, and this bundle has "
                    f"{tokenizer.codebook.sha256}; decode with the bundle that made them"
                )
            return np.array(tokens)
        case _:
            raise TokensError(
                'the JSON has no list "tokens"; give {"tokens": [B][h][w]}, as encode prints it'
            )
