"""From a config to the objects it describes."""

from __future__ import annotations

import torch

from .build_quantizer import build_quantizer
from .config import ModelConfig
from .model import VQVAE, Decoder, Encoder


def build_model(config: ModelConfig, *, seed: int) -> VQVAE:
    """The model with weights and codebook drawn from ``seed``. Raises ConfigError where values do not fit."""
    trunk = {
        "hidden": config.hidden,
        "num_residual_blocks": config.num_residual_blocks,
        "residual_channels": config.residual_channels,
        "code_dim": config.code_dim,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        quantizer = build_quantizer(config)
        return VQVAE(encoder=Encoder(**trunk), quantizer=quantizer, decoder=Decoder(**trunk))
