"""From a config to the quantizer that it describes."""

from __future__ import annotations

from .baselines.gradient import GradientQuantizer
from .baselines.softmax import Annealing, SoftmaxQuantizer
from .baselines.som_vae import SomVaeQuantizer
from .config import ModelConfig
from .errors import ConfigError
from .grid import GRIDS, Grid
from .neighborhood import (
    GaussianNeighborhood,
    HardNeighborhood,
    Neighborhood,
    NoNeighborhood,
    WideGaussianNeighborhood,
)
from .quantizer import KohonenQuantizer, VectorQuantizer
from .quantizer_config import QuantizerConfig
from .residual_quantizer import ResidualQuantizer
from .revival import NeighborRevival, NoRevival, Revival


def build_quantizer(config: ModelConfig) -> VectorQuantizer:
    """The quantizer of ``config``, its codebook drawn anew. Raises ConfigError where values do not fit."""
    quantizer, code_dim = config.quantizer, config.code_dim
    try:
        grid = GRIDS[quantizer.map_topology].for_codebook(quantizer.map_shape, quantizer.codebook_size)
        match quantizer.method:
            case "kohonen":
                return _build_kohonen(grid, code_dim=code_dim, config=quantizer)
            case "residual":
                return ResidualQuantizer(
                    [
                        _build_kohonen(grid, code_dim=code_dim, config=quantizer)
                        for _ in range(quantizer.num_stages)
                    ]
                )
            case "gradient":
                return GradientQuantizer(grid, code_dim=code_dim)
            case "som_vae":
                return SomVaeQuantizer(grid, code_dim=code_dim, neighbor_weight=quantizer.neighbor_weight)
            case "softmax":
                initial, final = quantizer.temperature
                return SoftmaxQuantizer(
                    grid,
                    code_dim=code_dim,
                    neighborhood=build_neighborhood(quantizer),
                    annealing=Annealing(initial, final, quantizer.anneal_steps),
                )
    except ValueError as error:
        raise ConfigError(f"model.quantizer: {error}") from None


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


def _build_kohonen(grid: Grid, *, code_dim: int, config: QuantizerConfig) -> KohonenQuantizer:
    return KohonenQuantizer(
        grid,
        code_dim=code_dim,
        neighborhood=build_neighborhood(config),
        decay=config.decay,
        epsilon=config.epsilon,
        initial_count=config.initial_count,
        update_unused=config.update_unused,
        revival=_build_revival(grid, config=config),
    )


def _build_revival(grid: Grid, *, config: QuantizerConfig) -> Revival:
    if config.min_members == 0:
        return NoRevival()
    return NeighborRevival(grid, min_members=config.min_members, decay=config.decay)
