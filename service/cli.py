"""The service's commands: serve, encode, decode, inspect."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from kohonen_tokenizer.atomic_file import write_atomically

from .errors import BundleError, InputError, ParameterError
from .runtime.images import Resize, decode_image, encode_png, fit
from .runtime.onnx_backend import Device
from .runtime.tokenizer import Tokenizer
from .summary import summarize
from .token_files import read_token_file, tokens_json, write_token_file

app = typer.Typer(help="Serve a bundle, or use it on files.", no_args_is_help=True)

# Wide, because these are files of the user's own and not what strangers send to a service.
MAX_IMAGE_PIXELS = 2**28

BundleOption = Annotated[
    Path, typer.Option(envvar="KOHONEN_BUNDLE", help="The bundle: a folder, or a .zip of the same files.")
]
DeviceOption = Annotated[
    Device, typer.Option(help="Where the model runs. cuda fails where it cannot, and never falls back.")
]


@app.command()
def serve(
    *,
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle: a folder, or a .zip of the same files. [KOHONEN_BUNDLE]")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address; 0.0.0.0 opens it to the network. [KOHONEN_HOST]")
    ] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to listen on. [KOHONEN_PORT]")] = None,
    device: Annotated[
        Device | None, typer.Option(help="Where the model runs; never falls back. [KOHONEN_DEVICE]")
    ] = None,
) -> None:
    """Serve a bundle over HTTP until SIGTERM or Ctrl-C.

    Example: kohonen-tokenizer serve --bundle my-bundle --port 8000

    What is not given comes from the variable in brackets. Limits are variables only: see the README.
    """
    # Here, so that the other commands start without loading a web framework.
    from .http.server import run
    from .http.settings import read_settings

    given = {"bundle": bundle, "host": host, "port": port, "device": device}
    run(read_settings({name: value for name, value in given.items() if value is not None}))


@app.command()
def encode(
    images: Annotated[list[Path], typer.Argument(help="JPEG, PNG or WebP files.")],
    *,
    bundle: BundleOption,
    output: Annotated[
        Path | None,
        typer.Option(help="A .npy file for the tokens, int32 [B, h, w]; without it JSON goes to stdout."),
    ] = None,
    resize: Annotated[
        Resize,
        typer.Option(
            help="For images of another size: crop scales the short side and keeps the center, "
            "squash scales both sides, strict refuses."
        ),
    ] = "crop",
    device: DeviceOption = "cpu",
) -> None:
    """Turn images into grids of tokens.

    Example: kohonen-tokenizer encode a.jpg --bundle my-bundle --output tokens.npy
    """
    if output is not None and output.suffix != ".npy":
        raise ParameterError(f"--output {output} must end in .npy; without --output JSON goes to stdout")
    tokenizer = _load(bundle, device=device)
    size = tokenizer.manifest.image
    pixels = np.empty((len(images), size.height, size.width, size.channels), dtype=np.uint8)
    for index, path in enumerate(images):
        with _naming(path):
            image = decode_image(path.read_bytes(), max_pixels=MAX_IMAGE_PIXELS)
            pixels[index] = fit(image, height=size.height, width=size.width, resize=resize)
    tokens = tokenizer.encode(pixels)
    if output is None:
        typer.echo(tokens_json(tokens, tokenizer=tokenizer))
    else:
        write_token_file(output, tokens)


@app.command()
def decode(
    tokens: Annotated[
        Path, typer.Argument(help="Tokens [B, h, w]: a .npy file, or a .json file of what encode prints.")
    ],
    *,
    bundle: BundleOption,
    output: Annotated[
        Path,
        typer.Option(help="A .png file for one image, or a folder, which is made, for 00000.png and on."),
    ],
    device: DeviceOption = "cpu",
) -> None:
    """Turn grids of tokens back into PNG images.

    Example: kohonen-tokenizer decode tokens.npy --bundle my-bundle --output out
    """
    tokenizer = _load(bundle, device=device)
    with _naming(tokens):
        images = tokenizer.decode(read_token_file(tokens, tokenizer=tokenizer))
    if output.suffix == ".png":
        if len(images) != 1:
            raise ParameterError(
                f"--output {output} holds one image and there are {len(images)}; give a folder"
            )
        write_atomically(output, encode_png(images[0]))
        return
    output.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        write_atomically(output / f"{index:05d}.png", encode_png(image))


@app.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder, or a .zip of the same files.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Verify a bundle, every file and graph of it, and say what is in it.

    Example: kohonen-tokenizer inspect my-bundle
    """
    manifest = _load(bundle, device="cpu").manifest
    typer.echo(manifest.to_json() if as_json else summarize(manifest), nl=not as_json)


def _load(bundle: Path, *, device: Device) -> Tokenizer:
    try:
        return Tokenizer.load(bundle, device=device)
    except BundleError as error:
        raise type(error)(f"{bundle}: {error}") from None


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say in which file an error is: a command may be given many."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None
