"""A few image files to tokens and back, all in memory: what `encode` and `decode` do without a dataset."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import typer

from kohonen_tokenizer.atomic_file import write_atomically

from .errors import InputError, ParameterError, TokensError
from .level_tokens import grids_by_field
from .npy import write_npy
from .runtime.backend import Tokens
from .runtime.images import Resize, decode_image, encode_png, fit
from .runtime.tokenizer import Tokenizer
from .safetensors_bytes import write_safetensors
from .token_grids import TokenFormat, read_token_grids

# Wide, because these are files of the user's own and not what strangers send to a service.
MAX_IMAGE_PIXELS = 2**28

_TOKEN_FORMATS: dict[str, TokenFormat] = {".npy": "npy", ".safetensors": "safetensors", ".json": "json"}


def encode_files(
    images: Sequence[Path], *, tokenizer: Tokenizer, output: Path | None, resize: Resize = "crop"
) -> None:
    """Write the tokens of image files, - for stdin, int32 [B, h, w], to `output`, or print them as JSON.

    Raises:
        InputError: an image that is none; nothing is written.
        ParameterError: an `output` that is no .npy or .safetensors, or a .npy for a model of several levels.
        OSError: a file cannot be read or written.
    """
    kind = None if output is None else output.suffix.lower()
    if kind not in (None, ".npy", ".safetensors"):
        raise ParameterError(
            f"--output {output} must end in .npy or .safetensors; without --output JSON goes to stdout"
        )
    if kind == ".npy" and len(tokenizer.levels) > 1:
        raise ParameterError(
            f"--output {output} holds one array, and this model has {', '.join(tokenizer.levels)}; "
            "give a .safetensors file"
        )
    size = tokenizer.manifest.image
    pixels = np.empty((len(images), size.height, size.width, size.channels), dtype=np.uint8)
    for index, path in enumerate(images):
        with _naming(path):
            content = sys.stdin.buffer.read() if path == Path("-") else path.read_bytes()
            image = decode_image(content, max_pixels=MAX_IMAGE_PIXELS)
            pixels[index] = fit(image, height=size.height, width=size.width, resize=resize)
    tokens = grids_by_field(tokenizer.encode_rows(pixels), tokenizer=tokenizer)
    if output is None:
        fields = {name: grids.tolist() for name, grids in tokens.items()}
        typer.echo(json.dumps(fields | tokenizer.identity))
    elif kind == ".npy":
        write_atomically(output, write_npy(next(iter(tokens.values()))))
    else:
        write_atomically(output, write_safetensors(tokens, metadata=tokenizer.identity))


def decode_file(tokens: Path, *, tokenizer: Tokenizer, output: Path) -> None:
    """Write the images of a file that `encode_files` made: one to a .png, or many into a folder.

    Raises:
        InputError: no tokens of this model, or many for one .png.
        OSError: a file cannot be read or written.
    """
    to_one_file = output.suffix.lower() == ".png"
    with _naming(tokens):
        rows = _read_tokens(tokens, tokenizer=tokenizer)
        if to_one_file and len(rows) > 1:
            raise TokensError(f"the file holds {len(rows)} grids, and {output} one image; give a folder")
        images = tokenizer.decode_rows(rows)
    if to_one_file:
        write_atomically(output, encode_png(images[0]))
        return
    output.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        write_atomically(output / f"{index:05d}.png", encode_png(image))


def _read_tokens(path: Path, *, tokenizer: Tokenizer) -> Tokens:
    """The tokens in a file, as the decoder of `tokenizer` takes them, of at least one image."""
    kind = _TOKEN_FORMATS.get(path.suffix.lower())
    if kind is None:
        raise TokensError(f"the file ends in {path.suffix!r}; give a {' or '.join(_TOKEN_FORMATS)} file")
    if kind == "npy" and len(tokenizer.levels) > 1:
        raise TokensError(
            f"a .npy holds one array, and this model has {', '.join(tokenizer.levels)}; "
            "give a .safetensors or .json file"
        )
    grids = read_token_grids(path.read_bytes(), kind=kind)
    grids.check_claims(tokenizer.identity)
    tokens = grids.rows(tokenizer)
    if not len(tokens):
        raise TokensError("the file holds no token grids; give at least one")
    return tokens


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say in which file an error is: a command may be given many."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None
