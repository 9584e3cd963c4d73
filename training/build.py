"""From a config to the objects it describes."""

from __future__ import annotations

import torch

from .config import ModelConfig, QuantizerConfig
from .errors import ConfigError
from .grid import Grid
from .model import VQVAE, Decoder, Encoder
from .neighborhood import (
    GaussianNeighborhood,
    HardNeighborhood,
    Neighborhood,
    NoNeighborhood,
    WideGaussianNeighborhood,
)
from .quantizer import KohonenQuantizer
from .vqvae2 import VQVAE2


def build_neighborhood(config: QuantizerConfig) -> Neighborhood:
    """The neighborhood that the config names."""
    match config.neighborhood:
        case "none":
            return NoNeighborhood()
        case "hard":
            return HardNeighborhood(shrink_step=config.shrink_step)
        case "gaussian":
            return GaussianNeighborhood(shrink_step=config.shrink_step)
        case "gaussian_wide":
            return WideGaussianNeighborhood(shrink_step=config.shrink_step)


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


def build_quantizer(config: ModelConfig) -> KohonenQuantizer:
    """A quantizer of ``config``, its codebook drawn anew. Raises ConfigError where values do not fit."""
    try:
        return KohonenQuantizer(
            Grid.for_codebook(config.quantizer.map_shape, config.quantizer.codebook_size),
            code_dim=config.code_dim,
            neighborhood=build_neighborhood(config.quantizer),
            decay=config.quantizer.decay,
            epsilon=config.quantizer.epsilon,
            initial_count=config.quantizer.initial_count,
            update_unused=config.quantizer.update_unused,
        )
    except ValueError as error:
        raise ConfigError(f"model.quantizer: {error}") from None
