"""The service's commands: serve, encode, decode, inspect."""

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import JsonValue

from kohonen_tokenizer.atomic_file import write_atomically

from .errors import BundleError, InputError, ParameterError, TokensError
from .http.settings import ENV_PREFIX, Settings, read_settings
from .npy import write_npy
from .runtime.images import Resize, decode_image, encode_png, fit
from .runtime.manifest import Manifest
from .runtime.onnx_backend import Device
from .runtime.tokenizer import Tokenizer
from .token_grids import TokenArray, read_token_grids

app = typer.Typer(help="Serve a bundle, or use it on files.", no_args_is_help=True)

# Wide, because these are files of the user's own and not what strangers send to a service.
MAX_IMAGE_PIXELS = 2**28

BundleOption = Annotated[
    Path, typer.Option(envvar="KOHONEN_BUNDLE", help="The bundle: a folder, or a .zip of the same files.")
]
DeviceOption = Annotated[
    Device,
    typer.Option(
        envvar="KOHONEN_DEVICE",
        help="Where the model runs. cuda fails where it cannot, and never falls back.",
    ),
]
NumThreadsOption = Annotated[
    int | None,
    typer.Option(
        envvar="KOHONEN_NUM_THREADS",
        min=1,
        max=1024,
        help="Threads of the model on the CPU; without it, as many as this process may use.",
    ),
]


def _list_settings() -> str:
    """Every setting of the service: variable, default and meaning."""
    lines = ["Every setting, as an environment variable and its default; an option above counts more:"]
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else "unset" if field.default is None else field.default
        lines.append(f"{ENV_PREFIX}{name.upper()} ({default})")
        wrapped = textwrap.wrap(field.description or "", width=72, break_on_hyphens=False)
        lines += [f"    {line}" for line in wrapped]
    return "\n".join(lines)


@app.command(epilog=_list_settings())
def serve(
    *,
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle: a folder, or a .zip of the same files.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address; 0.0.0.0 opens it to the network.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to listen on.")] = None,
    device: Annotated[Device | None, typer.Option(help="Where the model runs; never falls back.")] = None,
) -> None:
    """Serve a bundle over HTTP until SIGTERM or Ctrl-C.

    Example: kohonen-tokenizer serve --bundle my-bundle --port 8000
    """
    # Here, so that the other commands start without loading a web framework.
    from .http.server import run

    given = {"bundle": bundle, "host": host, "port": port, "device": device}
    settings = read_settings({name: value for name, value in given.items() if value is not None})
    tokenizer = _load(settings.bundle, device=settings.device, num_threads=settings.num_threads)
    run(settings, tokenizer=tokenizer)


@app.command()
def encode(
    images: Annotated[list[Path], typer.Argument(help="JPEG, PNG or WebP files; - reads stdin.")],
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
    num_threads: NumThreadsOption = None,
) -> None:
    """Turn images into grids of tokens.

    Example: kohonen-tokenizer encode a.jpg --bundle my-bundle --output tokens.npy
    """
    if output is not None and output.suffix.lower() != ".npy":
        raise ParameterError(f"--output {output} must end in .npy; without --output JSON goes to stdout")
    tokenizer = _load(bundle, device=device, num_threads=num_threads)
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
    num_threads: NumThreadsOption = None,
) -> None:
    """Turn grids of tokens back into PNG images.

    Example: kohonen-tokenizer decode tokens.npy --bundle my-bundle --output out
    """
    to_one_file = output.suffix.lower() == ".png"
    if output.suffix and not to_one_file and not output.is_dir():
        raise ParameterError(f"--output {output} ends in {output.suffix}; give a .png file or a folder")
    tokenizer = _load(bundle, device=device, num_threads=num_threads)
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


@app.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder, or a .zip of the same files.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Verify a bundle, every file and graph of it, and say what is in it.

    Example: kohonen-tokenizer inspect my-bundle
    """
    manifest = _load(bundle, device="cpu", num_threads=None).manifest
    if as_json:
        typer.echo(manifest.to_json(), nl=False)
    else:
        typer.echo("\n".join(_summary(manifest)))


def _read_grids(path: Path, *, identity: Mapping[str, str]) -> TokenArray:
    """The token grids [B, h, w] in a file, at least one."""
    match path.suffix.lower():
        case ".npy":
            grids = read_token_grids(path.read_bytes(), kind="npy", identity=identity)
        case ".json":
            grids = read_token_grids(path.read_bytes(), kind="json", identity=identity)
        case suffix:
            raise TokensError(f"the file ends in {suffix!r}; give a .npy or .json file")
    if not len(grids):
        raise TokensError("the file holds no token grids; give at least one")
    return grids


def _load(bundle: Path, *, device: Device, num_threads: int | None) -> Tokenizer:
    try:
        return Tokenizer.load(bundle, device=device, num_threads=num_threads)
    except BundleError as error:
        raise type(error)(f"{bundle}: {error}") from None


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say in which file an error is: a command may be given many."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None


def _summary(manifest: Manifest) -> Iterator[str]:
    """What is in a bundle, one fact a line; its files must have been found to be as `manifest` says."""
    image, data, checkpoint = manifest.image, manifest.training_data, manifest.checkpoint
    yield f"name           {manifest.name}"
    yield f"description    {manifest.description}"
    yield f"license        {manifest.license}"
    yield f"created        {manifest.created.isoformat()}"
    yield f"image          {image.height} x {image.width} x {image.channels} (height x width x channels)"
    for level in manifest.levels:
        rows, columns = level.latent_grid
        map_shape = " x ".join(map(str, level.map_shape))
        yield f"level          {level.name}: {rows} x {columns} tokens an image"
        yield f"codebook       {level.codebook_size} codes of {level.code_dim} numbers on a {map_shape} map"
        yield f"codebook hash  {level.codebook_sha256}"
    yield f"trained on     {data.name}, {data.num_images} images ({data.license})"
    yield f"checkpoint     step {checkpoint.step}, sha256 {checkpoint.sha256}"
    for package, version in sorted(manifest.versions.items()):
        yield f"made with      {package} {version}"
    for name, value in _scalars(manifest.metrics):
        yield f"metric         {name} {value}"
    for name, record in sorted(manifest.files.items()):
        yield f"file           {name}: {record.bytes} bytes, sha256 {record.sha256}, verified"


def _scalars(metrics: dict[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """The numbers and texts in nested `metrics`, by dotted name; lists are for readers of the JSON."""
    for key, value in metrics.items():
        if isinstance(value, dict):
            yield from _scalars(value, prefix=f"{prefix}{key}.")
        elif not isinstance(value, list):
            yield f"{prefix}{key}", value
