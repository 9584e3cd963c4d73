"""What a run shows: a sheet of images, and held-out bits per token beside the baselines.

B images, H W pixels.
"""

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image

_GAP = 2
_SCALE = 2


def sheet(images: npt.NDArray[np.uint8], *, columns: int) -> bytes:
    """`images` [B, H, W, 3] in rows of `columns`, twice their size, as a PNG."""
    num_rows = -(-len(images) // columns)
    _, height, width, _ = images.shape
    cell_height, cell_width = height + _GAP, width + _GAP
    canvas = np.full((num_rows * cell_height - _GAP, columns * cell_width - _GAP, 3), 255, dtype=np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * cell_height, number % columns * cell_width
        canvas[top : top + height, left : left + width] = image
    file = io.BytesIO()
    picture = Image.fromarray(canvas)
    picture.resize((picture.width * _SCALE, picture.height * _SCALE), Image.Resampling.NEAREST).save(
        file, "PNG"
    )
    return file.getvalue()


def bits_plot(curve: Mapping[int, float], *, baselines: Mapping[str, float]) -> bytes:
    """Held-out bits per token by the number of steps, and a line for each baseline, as a PNG."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(list(curve), list(curve.values()), marker="o", color="black", label="transformer")
    for number, (name, bits) in enumerate(baselines.items()):
        axes.axhline(bits, linestyle="--", color=f"C{number}", label=f"{name}: {bits:.2f}")
    axes.set(xlabel="steps", ylabel="bits per token, held-out images")
    axes.legend()
    return png(figure)


def png(figure: Figure) -> bytes:
    """`figure` as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()
