"""The service's commands but `serve`: encode, decode, inspect, doctor, new-key."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import JsonValue

from kohonen_tokenizer.atomic_file import write_atomically

from .doctor import doctor
from .errors import InputError, ParameterError, TokensError
from .http.auth import KeyScope, make_key
from .http.settings_toml import write_table
from .npy import write_npy
from .runtime.devices import DeviceChoice
from .runtime.images import Resize, decode_image, encode_png, fit
from .runtime.manifest import GraphFormat, Manifest
from .runtime.tokenizer import Tokenizer
from .token_grids import TokenArray, read_token_grids

app = typer.Typer(help="Use a bundle on files.", no_args_is_help=True)

# Wide, because these are files of the user's own and not what strangers send to a service.
MAX_IMAGE_PIXELS = 2**28

BundleOption = Annotated[
    Path, typer.Option(envvar="KOHONEN_BUNDLE", help="The bundle: a folder, or a .zip of the same files.")
]
DeviceOption = Annotated[
    DeviceChoice,
    typer.Option(
        envvar="KOHONEN_DEVICE",
        help="Where the model runs. auto takes cuda where it works; a device that is named never falls back.",
    ),
]
BackendOption = Annotated[
    GraphFormat,
    typer.Option(
        envvar="KOHONEN_BACKEND",
        help="Which graphs of the bundle run. Those of torch need the extra torch, and can hold code.",
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


app.command()(doctor)


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
    device: DeviceOption = "auto",
    backend: BackendOption = "onnx",
    num_threads: NumThreadsOption = None,
) -> None:
    """Turn images into grids of tokens.

    Example: kohonen-tokenizer encode a.jpg --bundle my-bundle --output tokens.npy
    """
    if output is not None and output.suffix.lower() != ".npy":
        raise ParameterError(f"--output {output} must end in .npy; without --output JSON goes to stdout")
    tokenizer = Tokenizer.load(bundle, device=device, backend=backend, num_threads=num_threads)
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
    device: DeviceOption = "auto",
    backend: BackendOption = "onnx",
    num_threads: NumThreadsOption = None,
) -> None:
    """Turn grids of tokens back into PNG images.

    Example: kohonen-tokenizer decode tokens.npy --bundle my-bundle --output out
    """
    to_one_file = output.suffix.lower() == ".png"
    if output.suffix and not to_one_file and not output.is_dir():
        raise ParameterError(f"--output {output} ends in {output.suffix}; give a .png file or a folder")
    tokenizer = Tokenizer.load(bundle, device=device, backend=backend, num_threads=num_threads)
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
def new_key(
    name: Annotated[str, typer.Argument(help="Who gets the key; letters, digits and . _ -, at most 64.")],
    *,
    admin: Annotated[
        bool, typer.Option("--admin", help="A key that may also load models and take profiles.")
    ] = False,
) -> None:
    """Make an API key: it is shown once, on stderr; its entry for the settings goes to stdout.

    Example: kohonen-tokenizer new-key trainer >> settings.toml
    """
    scopes: tuple[KeyScope, ...] = ("use", "admin") if admin else ("use",)
    secret, entry = make_key(name, scopes=scopes)
    typer.echo(f"{name}'s key, which is stored nowhere: {secret}", err=True)
    # An empty line first, as it may follow others in a file.
    typer.echo("\n" + write_table("api_keys", entry.model_dump(mode="json")))


@app.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder, or a .zip of the same files.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Verify a bundle, every file and graph of it, and say what is in it.

    Example: kohonen-tokenizer inspect my-bundle
    """
    manifest = Tokenizer.load(bundle).manifest
    if as_json:
        typer.echo(manifest.to_json(), nl=False)
    else:
        typer.echo("\n".join(_summary(manifest)))


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
        yield (
            f"codebook       {level.codebook_size} codes of {level.code_dim} numbers "
            f"on a {map_shape} {level.map_topology} map"
        )
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
