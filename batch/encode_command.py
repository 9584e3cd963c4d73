"""The command `encode`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kohonen_tokenizer.install_command import install_command
from kohonen_tokenizer.service.errors import ParameterError
from kohonen_tokenizer.service.options import (
    BackendOption,
    BundleOption,
    DeviceOption,
    NumThreadsOption,
    ResizeOption,
)
from kohonen_tokenizer.service.runtime.devices import Device, DeviceChoice
from kohonen_tokenizer.service.runtime.manifest import GraphFormat
from kohonen_tokenizer.service.runtime.threads import available_threads

from .errors import EngineError
from .sources.source import Kind

if TYPE_CHECKING:
    from .engine import Engine

EngineName = Literal["local", "ray"]

_IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")

# Each has a copy of the model and of the device's libraries in the memory of the GPU.
_WORKERS_PER_GPU = 4

_JOB_OPTIONS = frozenset(
    (
        "source_kind",
        "image_column",
        "label_column",
        "id_column",
        "rows_per_shard",
        "engine",
        "workers",
        "ray_address",
        "gpus_per_worker",
        "batch_size",
        "max_errors",
        "strict",
        "retry_failed",
        "as_planned",
        "dry_run",
        "as_json",
    )
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]


def encode(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE DEST | IMAGE...", help="A source and a folder for its dataset; or images."
        ),
    ],
    *,
    bundle: BundleOption,
    resize: ResizeOption = "crop",
    device: DeviceOption = "auto",
    backend: BackendOption = "onnx",
    num_threads: NumThreadsOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Of images: a .npy or .safetensors for the tokens, int32 [B, h, w]; else JSON on stdout."
        ),
    ] = None,
    source_kind: Annotated[
        Kind | None, typer.Option(help="What SOURCE is; without it, what the names of its files say.")
    ] = None,
    image_column: Annotated[str | None, typer.Option(help="Of a table: the column of images.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Of a table: the column of labels.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Of a table: the column of unique names.")] = None,
    rows_per_shard: Annotated[
        int,
        typer.Option(
            min=1,
            max=2**20,
            help="Images of a shard; a tar is one by itself, tables are cut each 2048 rows at least.",
        ),
    ] = 4096,
    engine: Annotated[
        EngineName, typer.Option(help="Who deals out the shards: this machine, or a Ray cluster (extra ray).")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Processes; without it, one for each CPU, and at most 4 on a GPU; under Ray, what has room.",
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Of Ray: the cluster, HOST:PORT; else RAY_ADDRESS, or one that runs or is started here."
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(min=0, max=64, help="Of Ray: GPUs of a worker; without it, 0.25 where --device is one."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Images of one run of the model.")
    ] = None,
    max_errors: Annotated[
        int | None, typer.Option(min=0, help="Stop when more images than this have failed in this run.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first image that fails.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Encode once more what failed before, too.")
    ] = False,
    as_planned: Annotated[
        bool, typer.Option("--as-planned", help="Carry on although the source has changed since.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn images into tokens: a dataset from a source of any size, or a few files.

    Example: kohonen-tokenizer encode photos tokens --bundle my-bundle

    SOURCE is a folder of images, of WebDataset tars, or of Parquet or Arrow files with a column of images (a
    Hugging Face dataset on disk is one), one such tar or file, or a .txt file with a path a line; here, or
    behind a URL that fsspec knows. DEST gets Parquet shards and _manifest.json. The job may be killed at any
    time: the same command does what is missing.

    Where the second argument is a file, or named as an image, or - for stdin, or where there are not two, all
    of them are images, and their tokens are printed.

    Under Ray, every machine must see SOURCE, DEST and the bundle by the same names, and --device auto is the
    CPU. One engine carries on what another began.

    Exit status: 0 all images have tokens; 3 done, and some images failed; 4 stopped by --strict or
    --max-errors; 2 any other error; 130 stopped by Ctrl-C. The same command then carries on.
    """
    if not _is_job(paths, output=output):
        _refuse_job_options(context)
        from kohonen_tokenizer.service.image_files import encode_files
        from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

        for path in paths:
            if Path(path).is_dir():
                raise ParameterError(f"{path} is a folder; to make a dataset of it give DEST too, a folder")
        tokenizer = Tokenizer.load(bundle, device=device, backend=backend, num_threads=num_threads)
        encode_files([Path(path) for path in paths], tokenizer=tokenizer, output=output, resize=resize)
        return
    from .job import Options
    from .reporting import run_and_report, say_what_is_to_do
    from .sources.opening import open_source
    from .storage import Storage

    source_url, destination_url = paths
    destination = Storage(destination_url)
    if destination.is_inside(Storage(source_url)):
        raise ParameterError(
            f"DEST {destination_url} lies in SOURCE, which it would change; give another folder"
        )
    chosen_device = _choose_device(device, backend=backend, engine=engine)
    chosen_engine = _choose_engine(
        engine,
        workers=workers,
        device=chosen_device,
        ray_address=ray_address,
        gpus_per_worker=gpus_per_worker,
    )
    options = Options(
        # Workers may have another working folder.
        bundle=str(bundle.absolute()),
        resize=resize,
        device=chosen_device,
        backend=backend,
        num_threads=num_threads,
        rows_per_shard=rows_per_shard,
        batch_size=batch_size,
        max_errors=0 if strict else max_errors,
        retry_failed=retry_failed,
        as_planned=as_planned,
    )
    source = open_source(
        source_url,
        kind=source_kind,
        image_column=image_column,
        label_column=label_column,
        id_column=id_column,
    )
    if dry_run:
        say_what_is_to_do(source, destination, options=options, as_json=as_json)
    else:
        run_and_report(source, destination, options=options, engine=chosen_engine, as_json=as_json)


def _choose_device(device: DeviceChoice, *, backend: GraphFormat, engine: EngineName) -> Device:
    if engine == "ray":
        # Ray must know before a worker starts whether it needs a GPU; if that works, the worker finds out.
        return "cpu" if device == "auto" else device
    from kohonen_tokenizer.service.runtime.backends import device_check
    from kohonen_tokenizer.service.runtime.devices import choose_device

    return choose_device(device, check=device_check(backend))


def _choose_engine(
    name: EngineName,
    *,
    workers: int | None,
    device: Device,
    ray_address: str | None,
    gpus_per_worker: float | None,
) -> "Engine":
    if name == "local":
        for option, value in (("--ray-address", ray_address), ("--gpus-per-worker", gpus_per_worker)):
            if value is not None:
                raise ParameterError(f"{option} {value} is for a cluster; give --engine ray too")
        from .workers import LocalEngine

        return LocalEngine(num_workers=workers or _default_workers(device))
    try:
        from .ray_engine import RayEngine
    except ModuleNotFoundError as error:
        raise EngineError(
            f"--engine ray needs {error.name}, which is not installed; run: {install_command('ray')}"
        ) from None
    if gpus_per_worker is None:
        gpus_per_worker = 0.0 if device == "cpu" else 1 / _WORKERS_PER_GPU
    return RayEngine(num_workers=workers, gpus_per_worker=gpus_per_worker, address=ray_address)


def _default_workers(device: Device) -> int:
    num_threads = available_threads()
    return num_threads if device == "cpu" else min(num_threads, _WORKERS_PER_GPU)


def _is_job(paths: list[str], *, output: Path | None) -> bool:
    if output is not None or len(paths) != 2:
        return False
    second = Path(paths[1])
    return not (paths[1] == "-" or second.suffix.lower() in _IMAGE_SUFFIXES or second.is_file())


def _refuse_job_options(context: typer.Context) -> None:
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in _JOB_OPTIONS and source is not None and source.name == "COMMANDLINE":
            raise ParameterError(
                f"{parameter.opts[0]} is for a dataset; give SOURCE and DEST, a folder, to make one"
            )
