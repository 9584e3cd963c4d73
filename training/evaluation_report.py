"""An evaluation as text and as JSON, and the map as a picture."""

from __future__ import annotations

import io
import json
from dataclasses import asdict

from .checkpoint import Checkpoint
from .evaluation import Evaluation
from .map_order import u_matrix
from .map_picture import draw_map


def as_json(evaluation: Evaluation) -> bytes:
    """One JSON object with the fields of ``Evaluation``."""
    return (json.dumps(asdict(evaluation), indent=2, allow_nan=False) + "\n").encode()


def u_matrix_picture(checkpoint: Checkpoint) -> bytes:
    """A PNG of the U-matrix of the checkpoint's map: dark where codes are like their neighbors."""
    quantizer = checkpoint.model().quantizer
    picture = draw_map(u_matrix(quantizer.codebook.detach(), quantizer.grid), quantizer.grid)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def as_table(evaluation: Evaluation) -> str:
    """A figure a line, for people."""
    by_offset = "  ".join(f"{offset}: {psnr:.2f}" for offset, psnr in enumerate(evaluation.psnr_by_offset))
    rows = {
        "data": f"{evaluation.data}, {evaluation.split}, {evaluation.num_images} images",
        "checkpoint": f"step {evaluation.step}, sha256 {evaluation.checkpoint_sha256[:12]}",
        "loss": f"{evaluation.loss * 1e3:.1f}e-3 (mean squared error, normalized images)",
        "PSNR": f"{evaluation.psnr:.2f} dB",
        "SSIM": f"{evaluation.ssim:.4f}",
        "perplexity": f"{evaluation.usage.perplexity:.1f}",
        "codes used": f"{evaluation.usage.used_share:.1%}",
        "quantization error": f"{evaluation.map.quantization_error:.4f}",
        "topographic error, 8": f"{evaluation.map.topographic_error_8:.3f} (random order: "
        f"{evaluation.map.topographic_error_8_null:.3f})",
        "topographic error, 4": f"{evaluation.map.topographic_error_4:.3f} (random order: "
        f"{evaluation.map.topographic_error_4_null:.3f})",
        "trustworthiness": f"{evaluation.trustworthiness:.4f}",
        "topographic product": "none (two codes are equal)"
        if evaluation.topographic_product is None
        else f"{evaluation.topographic_product:+.4f} (0: one order of neighbors)",
        "PSNR by map offset": f"{by_offset} dB",
    }
    width = max(len(name) for name in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())
