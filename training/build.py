"""From a config to the objects it describes."""

from __future__ import annotations

import torch

from .build_quantizer import build_quantizer
from .config import ModelConfig
from .model import VQVAE, Decoder, Encoder
from .vqvae2 import VQVAE2


def build_model(config: ModelConfig, *, seed: int) -> VQVAE | VQVAE2:
    """The model, weights and codebooks drawn from ``seed``. Raises ConfigError where values do not fit."""
    trunk = {
        "hidden": config.hidden,
        "num_residual_blocks": config.num_residual_blocks,
        "residual_channels": config.residual_channels,
        "code_dim": config.code_dim,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match config.architecture:
            case "vqvae":
                quantizer = build_quantizer(config)
                return VQVAE(encoder=Encoder(**trunk), quantizer=quantizer, decoder=Decoder(**trunk))
            case "vqvae2":
                top, bottom = build_quantizer(config), build_quantizer(config)
                return VQVAE2(top_quantizer=top, bottom_quantizer=bottom, **trunk)
