"""A few image files to tokens and back, all in memory: what `encode` and `decode` do without a dataset."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import typer

from kohonen_tokenizer.atomic_file import write_atomically

from .errors import InputError, TokensError
from .npy import write_npy
from .runtime.images import Resize, decode_image, encode_png, fit
from .runtime.tokenizer import Tokenizer
from .token_grids import TokenArray, read_token_grids

# Wide, because these are files of the user's own and not what strangers send to a service.
MAX_IMAGE_PIXELS = 2**28


def encode_files(
    images: Sequence[Path], *, tokenizer: Tokenizer, output: Path | None, resize: Resize = "crop"
) -> None:
    """Write the tokens of image files, - for stdin, to a .npy, int32 [B, h, w], or print them as JSON.

    Raises:
        InputError: an image that is none; nothing is written.
        OSError: a file cannot be read or written.
    """
    size = tokenizer.manifest.image
    pixels = np.empty((len(images), size.height, size.width, size.channels), dtype=np.uint8)
    for index, path in enumerate(images):
        with _naming(path):
            content = sys.stdin.buffer.read() if path == Path("-") else path.read_bytes()
            image = decode_image(content, max_pixels=MAX_IMAGE_PIXELS)
            pixels[index] = fit(image, height=size.height, width=size.width, resize=resize)
    tokens = tokenizer.encode(pixels)
    if output is None:
        typer.echo(json.dumps({"tokens": tokens.tolist()} | tokenizer.identity))
    else:
        write_atomically(output, write_npy(tokens))


def decode_file(tokens: Path, *, tokenizer: Tokenizer, output: Path) -> None:
    """Write the images of a .npy or .json file of token grids: one to a .png, or many into a folder.

    Raises:
        InputError: no tokens of this model, or many for one .png.
        OSError: a file cannot be read or written.
    """
    to_one_file = output.suffix.lower() == ".png"
    with _naming(tokens):
        grids = _read_grids(tokens, identity=tokenizer.identity)
        if to_one_file and len(grids) > 1:
            raise TokensError(f"the file holds {len(grids)} grids, and {output} one image; give a folder")
        images = tokenizer.decode(grids)
    if to_one_file:
        write_atomically(output, encode_png(images[0]))
        return
    output.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        write_atomically(output / f"{index:05d}.png", encode_png(image))


def _read_grids(path: Path, *, identity: Mapping[str, str]) -> TokenArray:
    """The token grids [B, h, w] in a file, at least one."""
    match path.suffix.lower():
        case ".npy":
            grids = read_token_grids(path.read_bytes(), kind="npy")
        case ".json":
            grids = read_token_grids(path.read_bytes(), kind="json")
        case suffix:
            raise TokensError(f"the file ends in {suffix!r}; give a .npy or .json file")
    if not len(grids.tokens):
        raise TokensError("the file holds no token grids; give at least one")
    grids.check_claims(identity)
    return grids.tokens


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say in which file an error is: a command may be given many."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None
