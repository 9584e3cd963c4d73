"""The paper's figures, drawn with matplotlib from finished runs."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..checkpoint import Checkpoint
from ..grid import Grid
from .paper import Table
from .pictures import codebook_picture, moved_picture

Checkpoints = Mapping[str, Sequence[Checkpoint]]
"""By the condition's name: the last of each seed."""

DOTS_PER_INCH = 150
MAX_OFFSET = 4
SHOWN_IMAGES = 4


def loss_curves(table: Table, checkpoints: Checkpoints) -> Figure:
    """Validation loss by step, log scale (Figure 3): the mean of the seeds, and each of them thinly."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for number, row in enumerate(table.rows):
        color = f"C{number}"
        curves = [[(v.step, v.loss) for v in one.validations] for one in checkpoints[row.condition.name]]
        for curve in curves:
            axes.plot(*zip(*curve, strict=True), color=color, alpha=0.3, linewidth=0.8)
        steps = [step for step, _ in curves[0]]
        mean = np.mean([[loss for _, loss in curve] for curve in curves], axis=0)
        axes.plot(steps, mean, color=color, label=f"{row.labels[0]}, {len(curves)} seeds")
    axes.set(xlabel="step", ylabel="validation loss", yscale="log", title=table.title)
    axes.legend()
    return figure


def perplexity_curves(table: Table, checkpoints: Checkpoints) -> Figure:
    """Perplexity of the codes on the whole validation set by step: the mean of the seeds, and their range.

    Figure 6 shows that of single batches, which depends on their size.
    """
    levels = list(checkpoints[table.rows[0].condition.name][0].validations[0].levels)
    figure = Figure(figsize=(6 * len(levels), 4), layout="constrained")
    for axes, level in zip(figure.subplots(1, len(levels), squeeze=False).flat, levels, strict=True):
        for row in table.rows:
            validations = [one.validations for one in checkpoints[row.condition.name]]
            values = np.array([[v.levels[level].perplexity for v in of_one] for of_one in validations])
            steps = [v.step for v in validations[0]]
            (line,) = axes.plot(steps, values.mean(axis=0), label=f"{row.labels[0]}, {len(values)} seeds")
            least, most = values.min(axis=0), values.max(axis=0)
            axes.fill_between(steps, least, most, color=line.get_color(), alpha=0.2)
        axes.set(xlabel="step", ylabel="perplexity (validation set)", title=level, ylim=(0, None))
        axes.legend()
    figure.suptitle(table.title)
    return figure


def codebooks(table: Table, checkpoints: Checkpoints) -> Figure:
    """Every code of the first seed's models at its place on the map (Figure 4), of each level (Figure 7)."""
    levels = list(checkpoints[table.rows[0].condition.name][0].validations[0].levels)
    figure = Figure(figsize=(10 * len(levels), 5.6 * len(table.rows) / 2), layout="constrained")
    all_axes = figure.subplots(len(table.rows), len(levels), squeeze=False)
    for of_row, row in zip(all_axes, table.rows, strict=True):
        checkpoint = checkpoints[row.condition.name][0]
        model = checkpoint.model()
        for axes, level in zip(of_row, levels, strict=True):
            picture = codebook_picture(model, level=level, image_size=checkpoint.config.data.image_size)
            _show(axes, picture, title=f"{row.labels[0]}, {level}")
    return figure


def moved_images(table: Table, checkpoints: Checkpoints, *, pixels: Tensor) -> Figure:
    """Images whose tokens are moved by 0 to 4, by the first seed's models (Figure 5).

    ``pixels`` uint8 [N, H, W, 3]: the first few are shown.
    """
    figure = Figure(figsize=(6 * len(table.rows), 4.5), layout="constrained")
    for axes, row in zip(figure.subplots(1, len(table.rows), squeeze=False).flat, table.rows, strict=True):
        model = checkpoints[row.condition.name][0].model()
        is_map = row.condition.quantizer["neighborhood"] != "none"
        grids = {
            level: quantizer.grid if is_map else Grid((quantizer.grid.size,))
            for level, quantizer in model.quantizers.items()
        }
        offsets = range(min(MAX_OFFSET, *(grid.max_offset for grid in grids.values())) + 1)
        picture = moved_picture(model, pixels[:SHOWN_IMAGES], offsets=offsets, grids=grids)
        _show(axes, picture, title=f"{row.labels[0]}: original, then offset {', '.join(map(str, offsets))}")
    return figure


def as_png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return file.getvalue()


def _show(axes: Axes, picture: Tensor, *, title: str) -> None:
    axes.imshow(picture.numpy(), interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()
