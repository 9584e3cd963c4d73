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
from .paper import Row, Table
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


def codebooks_beside_fixed_codes(table: Table, checkpoints: Checkpoints) -> Figure:
    """Every code of each level while the other level has one of four codes everywhere (Figure 7).

    These lie at a quarter and three quarters of its map. Of the first seed's model.
    """
    (row,) = table.rows
    checkpoint = checkpoints[row.condition.name][0]
    model = checkpoint.model()
    figure = Figure(figsize=(20, 5.6), layout="constrained")
    all_axes = figure.subplots(2, 4)
    for of_row, level in zip(all_axes, model.quantizers, strict=True):
        (other,) = model.quantizers.keys() - {level}
        grid = model.quantizers[other].grid
        for axes, code in zip(of_row, _quarters(grid), strict=True):
            picture = codebook_picture(
                model, level=level, image_size=checkpoint.config.data.image_size, fixed={other: code}
            )
            at = tuple(grid.coordinates()[code].tolist())
            _show(axes, picture, title=f"{level}; {other} fixed to {at}")
    return figure


def one_level_moved(table: Table, checkpoints: Checkpoints, *, pixels: Tensor) -> Figure:
    """An image whose tokens of one level are moved by 0 to 4, by the first seed's models (Figures 8 and 9).

    ``pixels`` uint8 [1, H, W, 3].
    """
    levels = list(checkpoints[table.rows[0].condition.name][0].validations[0].levels)
    figure = Figure(figsize=(12, 2.2 * len(levels) * len(table.rows)), layout="constrained")
    all_axes = figure.subplots(len(levels) * len(table.rows), 1)
    rows = [(level, row) for level in levels for row in table.rows]
    for axes, (level, row) in zip(all_axes, rows, strict=True):
        model = checkpoints[row.condition.name][0].model()
        grid = _grid_of(row, model.quantizers[level].grid)
        offsets = range(min(MAX_OFFSET, grid.max_offset) + 1)
        picture = moved_picture(model, pixels, offsets=offsets, grids={level: grid})
        title = f"{row.labels[0]}, {level} moved: original, then offset {', '.join(map(str, offsets))}"
        _show(axes, picture, title=title)
    return figure


def moved_images(table: Table, checkpoints: Checkpoints, *, pixels: Tensor) -> Figure:
    """Images whose tokens are moved by 0 to 4, by the first seed's models (Figure 5).

    ``pixels`` uint8 [N, H, W, 3]: the first few are shown.
    """
    figure = Figure(figsize=(6 * len(table.rows), 4.5), layout="constrained")
    for axes, row in zip(figure.subplots(1, len(table.rows), squeeze=False).flat, table.rows, strict=True):
        model = checkpoints[row.condition.name][0].model()
        grids = {level: _grid_of(row, quantizer.grid) for level, quantizer in model.quantizers.items()}
        offsets = range(min(MAX_OFFSET, *(grid.max_offset for grid in grids.values())) + 1)
        picture = moved_picture(model, pixels[:SHOWN_IMAGES], offsets=offsets, grids=grids)
        _show(axes, picture, title=f"{row.labels[0]}: original, then offset {', '.join(map(str, offsets))}")
    return figure


def as_png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return file.getvalue()


def _grid_of(row: Row, grid: Grid) -> Grid:
    """Along what the tokens of a row's model are moved: the map, or their numbers where there is none."""
    return Grid((grid.size,)) if row.condition.quantizer["neighborhood"] == "none" else grid


def _quarters(grid: Grid) -> list[int]:
    """The four codes at a quarter and at three quarters of each side of a map, or along a line."""
    if len(grid.shape) == 1:
        return [grid.size * eighth // 8 for eighth in (1, 3, 5, 7)]
    rows, columns = grid.shape
    return [rows * row // 4 * columns + columns * column // 4 for row in (1, 3) for column in (1, 3)]


def _show(axes: Axes, picture: Tensor, *, title: str) -> None:
    axes.imshow(picture.numpy(), interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()
