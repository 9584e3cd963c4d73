"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from .runtime.devices import DeviceChoice
from .runtime.images import Resize
from .runtime.manifest import GraphFormat

BundleOption = Annotated[
    Path, typer.Option(envvar="KOHONEN_BUNDLE", help="The bundle: a folder, or a .zip of the same files.")
]
ResizeOption = Annotated[
    Resize,
    typer.Option(
        help="For images of another size: crop scales the short side and keeps the center, "
        "squash scales both sides, strict refuses."
    ),
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
