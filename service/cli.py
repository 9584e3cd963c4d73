"""The service's commands but `serve`: inspect, doctor, new-key."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from .doctor import doctor
from .http.auth import KeyScope, make_key
from .http.settings_toml import write_table
from .runtime.manifest import Manifest
from .runtime.tokenizer import Tokenizer

app = typer.Typer(help="Look at bundles, and at what this machine can do.", no_args_is_help=True)

app.command()(doctor)


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
