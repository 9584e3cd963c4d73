"""The command ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

# What needs torch is imported where it is used: the help is quick, and works where torch is not installed.
if TYPE_CHECKING:
    from torch import Tensor

    from kohonen_tokenizer.training.checkpoint import Checkpoint

    from .bundle import ExportedBundle

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Export checkpoints as bundles that the service loads.",
)


@app.command()
def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A run's folder, or one step-NNNNNNNN folder in its checkpoints/.")
    ],
    out: Annotated[
        Path, typer.Argument(help="Folder of the bundle; OUT.zip is written beside it.", file_okay=False)
    ],
    *,
    metrics: Annotated[
        Path | None,
        typer.Option(help="JSON that evaluate wrote for this checkpoint; without it, the last validation."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder, or .tar, of the run's images, to compare the graphs on; without it, on images made "
            "in code.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of decoded images; by default DATA/.kohonen-cache.", file_okay=False),
    ] = None,
    model_license: Annotated[str, typer.Option("--license", help="License of the model.")] = "MIT",
    description: Annotated[
        str | None, typer.Option(help="What the model is, in a line; without it, what the config says.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle that is there.")] = False,
) -> None:
    """Write a checkpoint as a bundle: ONNX, TorchScript and torch.export graphs, codebook and manifest.

    Example: kohonen-tokenizer export runs/ksom bundles/cifar10-ksom-512

    Nothing is written unless each graph, read back, gives the checkpoint's own tokens and pixels.
    """
    from kohonen_tokenizer.training.checkpoint import load_checkpoint

    from .bundle import export_bundle
    from .manifest import ModelCard, read_metrics, validation_metrics

    loaded = load_checkpoint(checkpoint)
    measured = validation_metrics(loaded) if metrics is None else read_metrics(metrics, checkpoint=loaded)
    exported = export_bundle(
        loaded,
        out,
        images=comparison_images(loaded, data=data, cache=cache),
        card=ModelCard(
            metrics=measured,
            license=model_license,
            description=description,
        ),
        overwrite=overwrite,
    )
    typer.echo(summary(exported))


def comparison_images(checkpoint: Checkpoint, *, data: Path | None, cache: Path | None) -> Tensor:
    """Images that training has not learnt from, uint8 [N, H, W, 3]: the data's, or made in code.

    Raises DataError when ``data`` cannot be read and CheckpointError when it is not the run's own.
    """
    import torch

    from kohonen_tokenizer.training.data import load_splits
    from kohonen_tokenizer.training.trainer import check_data

    from .parity import NUM_IMAGES
    from .parity_images import smooth_images

    if data is None:
        return smooth_images(NUM_IMAGES, size=checkpoint.config.data.image_size)
    splits = load_splits(checkpoint.config.data, data, cache=cache)
    check_data(checkpoint, splits)
    held_out = splits.validation if splits.test is None else splits.test
    # Spread over all of it: folders of images are sorted by class.
    return held_out[torch.linspace(0, len(held_out) - 1, min(NUM_IMAGES, len(held_out))).long()]


def summary(exported: ExportedBundle) -> str:
    """What was written and how well it agrees with the checkpoint, for a terminal."""
    parity = exported.parity
    batches = ", ".join(map(str, parity.batches))
    lines = [
        f"{exported.folder}",
        *(f"  {name:<24} {record.bytes:>12,} bytes" for name, record in exported.manifest.files.items()),
        f"{exported.archive}",
        f"  {'all of them':<24} {exported.archive.stat().st_size:>12,} bytes",
        f"parity with the checkpoint, {', '.join(parity.formats)}, batches of {batches}:",
        f"  {parity.equal_share:.4%} of {parity.num_tokens:,} tokens equal "
        f"({parity.num_inside_margin} inside the top-2 margin of {parity.top2_margin})",
        f"  pixels within {parity.max_pixel_difference} of 255",
    ]
    return "\n".join(lines)
