"""Kernels made by torch.compile for the networks of a model."""

from __future__ import annotations

from .model import VQVAE
from .quantizer import VectorQuantizer


def compile_networks(model: VQVAE) -> None:
    """Compile all parts of ``model`` but its quantizers when they are first called; names stay as they are.

    The search stays as written: its precision is not the compiler's to choose.
    """
    for part in model.children():
        if not isinstance(part, VectorQuantizer):
            part.compile()
