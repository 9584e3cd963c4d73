"""An evaluation as text and as JSON, and the map as a picture."""

from __future__ import annotations

import io
import json
from dataclasses import asdict

from PIL import Image

from .checkpoint import Checkpoint
from .evaluation import Evaluation, LevelEvaluation
from .map_order import u_matrix
from .map_picture import draw_map


def as_json(evaluation: Evaluation) -> bytes:
    """One JSON object with the fields of ``Evaluation``."""
    return (json.dumps(asdict(evaluation), indent=2, allow_nan=False) + "\n").encode()


def u_matrix_picture(checkpoint: Checkpoint) -> bytes:
    """A PNG of the U-matrix of the checkpoint's map: dark where codes are like their neighbors.

    The maps of several levels lie one under the other, in their order.
    """
    quantizers = checkpoint.model().quantizers.values()
    maps = [draw_map(u_matrix(each.codebook.detach(), each.grid), each.grid) for each in quantizers]
    picture = Image.new("L", (max(part.width for part in maps), sum(part.height for part in maps)), 255)
    top = 0
    for part in maps:
        picture.paste(part, (0, top))
        top += part.height
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def as_table(evaluation: Evaluation) -> str:
    """A figure a line, for people; with several levels, each line of one begins with its name."""
    rows = {
        "data": f"{evaluation.data}, {evaluation.split}, {evaluation.num_images} images",
        "checkpoint": f"step {evaluation.step}, sha256 {evaluation.checkpoint_sha256[:12]}",
        "loss": f"{evaluation.loss * 1e3:.1f}e-3 (mean squared error, normalized images)",
        "PSNR": f"{evaluation.psnr:.2f} dB at {evaluation.bits_per_image:,.0f} bits an image",
        "SSIM": f"{evaluation.ssim:.4f}",
        "PSNR by map offset": _by_offset(evaluation.psnr_by_offset),
    }
    for name, level in evaluation.levels.items():
        prefix = f"{name}: " if len(evaluation.levels) > 1 else ""
        rows |= {f"{prefix}{key}": value for key, value in _level_rows(level).items()}
        if prefix:
            rows[f"{prefix}PSNR by map offset"] = _by_offset(level.psnr_by_offset)
    width = max(len(name) for name in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def _level_rows(level: LevelEvaluation) -> dict[str, str]:
    return {
        "perplexity": f"{level.usage.perplexity:.1f}",
        "codes used": f"{level.usage.used_share:.1%}",
        "quantization error": f"{level.map.quantization_error:.4f}",
        "topographic error, 8": f"{level.map.topographic_error_8:.3f} (random order: "
        f"{level.map.topographic_error_8_null:.3f})",
        "topographic error, 4": f"{level.map.topographic_error_4:.3f} (random order: "
        f"{level.map.topographic_error_4_null:.3f})",
        "trustworthiness": f"{level.trustworthiness:.4f}",
        "topographic product": "none (two codes are equal)"
        if level.topographic_product is None
        else f"{level.topographic_product:+.4f} (0: one order of neighbors)",
    }


def _by_offset(psnr_by_offset: tuple[float, ...]) -> str:
    return "  ".join(f"{offset}: {psnr:.2f}" for offset, psnr in enumerate(psnr_by_offset)) + " dB"
