"""The commands `encode`, `decode`, `tokens` and `verify`.

What needs the extra `batch` is imported where it is used: a few files are encoded without it.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from kohonen_tokenizer.service.errors import ParameterError
from kohonen_tokenizer.service.options import BackendOption, BundleOption, DeviceOption, NumThreadsOption

from .encode_command import JsonOption, encode
from .exit_status import FLAWED

app = typer.Typer(help="Images to tokens and back, by the file and by the million.", no_args_is_help=True)
app.command()(encode)

tokens_app = typer.Typer(no_args_is_help=True)
app.add_typer(
    tokens_app,
    name="tokens",
    help="Export a dataset for training.\n\nExample: kohonen-tokenizer tokens export dataset arrays",
)

DatasetArgument = Annotated[
    str, typer.Argument(help="The folder that encode has filled, or its fsspec URL.", metavar="DATASET")
]


@app.command()
def decode(
    tokens: Annotated[
        str,
        typer.Argument(
            metavar="TOKENS | DATASET",
            help="Tokens [B, h, w]: a .npy, .safetensors or .json file of what encode gives; or a dataset.",
        ),
    ],
    *,
    bundle: BundleOption,
    output: Annotated[
        Path,
        typer.Option(help="A .png file for one image, or a folder, which is made."),
    ],
    tars: Annotated[
        bool, typer.Option("--tars", help="Of a dataset: a WebDataset tar for each shard, no loose files.")
    ] = False,
    device: DeviceOption = "auto",
    backend: BackendOption = "onnx",
    num_threads: NumThreadsOption = None,
) -> None:
    """Turn tokens back into PNG images: those of a file, or a dataset's.

    Example: kohonen-tokenizer decode tokens.npy --bundle my-bundle --output out

    The images of a file are 00000.png and on; those of a dataset have the ids that they had, and .png.
    """
    to_one_file = output.suffix.lower() == ".png"
    if output.suffix and not to_one_file and not output.is_dir():
        raise ParameterError(f"--output {output} ends in {output.suffix}; give a .png file or a folder")
    from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

    if "://" not in tokens and not Path(tokens).is_dir():
        from kohonen_tokenizer.service.image_files import decode_file

        if tars:
            raise ParameterError("--tars is for a dataset; give the folder that encode has filled")
        tokenizer = Tokenizer.load(bundle, device=device, backend=backend, num_threads=num_threads)
        decode_file(Path(tokens), tokenizer=tokenizer, output=output)
        return
    from .dataset import Dataset
    from .decoding import decode_dataset
    from .storage import Storage

    if to_one_file:
        raise ParameterError(f"--output {output} is one image, and {tokens} a dataset; give a folder")
    dataset = Dataset(Storage(tokens))
    tokenizer = Tokenizer.load(bundle, device=device, backend=backend, num_threads=num_threads)
    num_images = decode_dataset(dataset, tokenizer=tokenizer, folder=output, as_tars=tars)
    typer.echo(f"{num_images:,} images in {output}")


@tokens_app.command()
def export(
    dataset: DatasetArgument,
    folder: Annotated[Path, typer.Argument(help="Folder for the files, which is made.", file_okay=False)],
    *,
    tars: Annotated[
        bool, typer.Option("--tars", help="A WebDataset tar for each shard, and no arrays.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a dataset's tokens as one memory-mappable .npy a level, with labels.npy and index.json.

    Example: kohonen-tokenizer tokens export dataset arrays
    """
    from .dataset import Dataset
    from .storage import Storage
    from .training_view import export_arrays, export_tars

    write = export_tars if tars else export_arrays
    view = write(Dataset(Storage(dataset)), folder)
    if as_json:
        files = [str(path) for path in view.files]
        result = {"num_images": view.num_images, "num_left_out": view.num_left_out, "files": files}
        typer.echo(json.dumps(result))
        return
    left_out = f" ({view.num_left_out:,} failed ones left out)" if view.num_left_out else ""
    typer.echo(f"{view.num_images:,} images{left_out} in {folder}: {len(view.files):,} files")


@app.command()
def verify(dataset: DatasetArgument, *, as_json: JsonOption = False) -> None:
    """Read a dataset of tokens again, all of it, and compare it with its manifest.

    Example: kohonen-tokenizer verify dataset

    Exit status: 0 all is as the manifest says; 5 something is not, and stdout says what; 2 no dataset.
    """
    from .dataset import Dataset
    from .storage import Storage
    from .verification import find_flaws

    opened = Dataset(Storage(dataset))
    manifest = opened.manifest
    flaws = list(find_flaws(opened.storage, manifest))
    if as_json:
        result = {"num_images": manifest.num_images, "num_failed": manifest.num_failed, "flaws": flaws}
        typer.echo(json.dumps(result))
    else:
        for flaw in flaws:
            typer.echo(flaw)
        if not flaws:
            typer.echo(
                f"{len(manifest.shards):,} shards, {manifest.num_images:,} images, "
                f"{manifest.num_failed:,} of them failed: all is as {dataset}/_manifest.json says"
            )
    if flaws:
        raise typer.Exit(FLAWED)
