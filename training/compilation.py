"""Kernels made by torch.compile for the networks of a model."""

from __future__ import annotations

from .autoencoder import QuantizedAutoencoder

RECOMPILE_LIMIT = 64
"""Kernels of one part: training and validation, whole batches and the last, each of their own memory layout.
Past torch's default of 8 it would run the rest uncompiled, with a warning at most."""


def compile_networks(model: QuantizedAutoencoder) -> None:
    """Compile all parts of ``model`` but its quantizers when they are first called; names stay as they are.

    The search stays as written: its precision is not the compiler's to choose.
    """
    for part in (*model.encoder_parts, *model.decoder_parts):
        model.get_submodule(part).compile(recompile_limit=RECOMPILE_LIMIT)
