"""An evaluation as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from .evaluation import Evaluation, LevelEvaluation


def as_json(evaluation: Evaluation) -> bytes:
    """One JSON object with the fields of ``Evaluation``."""
    return (json.dumps(asdict(evaluation), indent=2, allow_nan=False) + "\n").encode()


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
    }


def _by_offset(psnr_by_offset: tuple[float, ...]) -> str:
    return "  ".join(f"{offset}: {psnr:.2f}" for offset, psnr in enumerate(psnr_by_offset)) + " dB"
