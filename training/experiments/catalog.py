"""Every experiment by its name: the paper's tables and figures, and what we compare beside them."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ConfigError
from .paper import (
    EMA,
    FIGURE_3,
    FIGURE_4,
    FIGURE_5,
    FIGURE_6,
    FIGURE_7,
    FIGURE_8,
    FIGURE_9,
    GAUSSIAN,
    HARD,
    HARD_FAST,
    HARD_LINE,
    HARD_SLOW,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    Condition,
    Dataset,
    Row,
    Table,
)

TOPOLOGY = Table(
    "The order of the map",
    ("neighbors", "tau"),
    (
        Row(("none", ""), EMA),
        Row(("hard 1-D", "0.1"), HARD_LINE),
        Row(("hard 2-D", "1"), HARD_FAST),
        Row(("hard 2-D", "0.1"), HARD),
        Row(("hard 2-D, topology first", "0.01"), HARD_SLOW),
        Row(("Gaussian 2-D", "0.1"), GAUSSIAN),
    ),
    is_of_maps=True,
)

METHODS = Table(
    "Other ways to learn the codes",
    ("method",),
    (
        Row(("EMA-VQ",), EMA),
        Row(("Kohonen map",), HARD),
        Row(("gradient",), Condition("gradient", {"method": "gradient"})),
        Row(("SOM-VAE",), Condition("som-vae", {"method": "som_vae"})),
        Row(("softmax (section 5)",), Condition("softmax", {"method": "softmax"})),
        Row(("residual, 2 stages",), Condition("residual", {"method": "residual"})),
    ),
    is_of_maps=True,
)

EXPERIMENTS: Mapping[str, Table] = {
    "table1": TABLE_1,
    "table2": TABLE_2,
    "table3": TABLE_3,
    "table4": TABLE_4,
    "figure3": FIGURE_3,
    "figure4": FIGURE_4,
    "figure5": FIGURE_5,
    "figure6": FIGURE_6,
    "figure7": FIGURE_7,
    "figure8": FIGURE_8,
    "figure9": FIGURE_9,
    "topology": TOPOLOGY,
    "methods": METHODS,
}
"""By the name that the command takes."""


def find_experiment(name: str) -> Table:
    """The table of that name. Raises ConfigError for an unknown one."""
    table = EXPERIMENTS.get(name)
    if table is None:
        raise ConfigError(f"experiment {name!r}: there is none; use one of {', '.join(EXPERIMENTS)}")
    return table


OF_TWO_LEVELS = ("figure7", "figure8", "figure9")
"""Those that a model of one level has nothing to show for."""

DATASET_OF_SOURCE: Mapping[str, Dataset] = {"cifar10": "cifar10", "imagenet": "imagenet", "faces": "faces"}
"""Whose figures of the paper a recipe's own source has beside it; other sources may have any."""
