"""The tables of Irie et al. 2023: what each row trains, and the figures that the paper prints for it.

Where the paper says "Gaussian" its figures are of the form in the authors' published code, which is
``gaussian_wide`` here, and not of Eq. 5 as it is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Dataset = Literal["cifar10", "imagenet", "faces"]

STEPS = 30_000
"""Steps of each run in the paper."""

VALIDATIONS = 30
"""Times that the paper's runs are validated: every 1,000 steps."""


class Spread(NamedTuple):
    """Mean and standard deviation over seeds."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class Printed:
    """A row's figures as the paper prints them for one dataset."""

    loss: Spread
    """Best validation loss, in the units of ``LOSS_SCALE``."""
    steps_10: Spread
    """Thousands of steps to 1.1 times the best loss."""
    steps_20: Spread | None = None
    """Thousands of steps to 1.2 times the best loss."""


LOSS_SCALE: Mapping[Dataset, float] = {"cifar10": 1e3, "imagenet": 1e3, "faces": 1e4}
"""By what the paper multiplies its losses."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to learn the codebook; rows of several tables may share it, and then its runs."""

    name: str
    """Names the folder of its runs."""
    quantizer: Mapping[str, Any]
    """What it changes in the recipe's ``model.quantizer``."""
    is_line: bool = False
    """Whether the map has one dimension instead of the recipe's shape."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    labels: tuple[str, ...]
    """One for each of the table's ``columns``."""
    condition: Condition
    printed: Mapping[Dataset, Printed] = field(default_factory=dict)
    """By dataset; the paper leaves some out."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the paper, or the runs behind a figure of it."""

    title: str
    columns: tuple[str, ...]
    """Heads of the rows' labels."""
    rows: tuple[Row, ...]
    has_steps_20: bool = False
    """Whether it counts the steps to +20% too."""
    is_of_maps: bool = False
    """Whether it shows the whole evaluation of each last checkpoint, and no validations."""


def _condition(
    neighborhood: str,
    *,
    initial_count: float = 1.0,
    update_unused: bool = True,
    is_line: bool = False,
    shrink_step: float = 0.1,
) -> Condition:
    parts = [
        neighborhood.replace("_", "-"),
        *(["line"] if is_line else []),
        *([] if shrink_step == 0.1 else [f"tau{shrink_step:g}"]),
        *([] if initial_count == 1 else [f"n{initial_count:g}"]),
        *([] if update_unused else ["keep-unused"]),
    ]
    return Condition(
        "-".join(parts),
        {
            "neighborhood": neighborhood,
            "initial_count": float(initial_count),
            "update_unused": update_unused,
            "shrink_step": float(shrink_step),
        },
        is_line,
    )


def _printed(loss: float, std: float, *steps: tuple[float, float]) -> Printed:
    return Printed(Spread(loss, std), *(Spread(*pair) for pair in steps))


EMA = _condition("none")
HARD = _condition("hard")
GAUSSIAN = _condition("gaussian_wide")
EMA_ZERO_COUNT = _condition("none", initial_count=0)
EMA_KEEP_UNUSED = _condition("none", update_unused=False)
EMA_BOTH = _condition("none", initial_count=0, update_unused=False)
HARD_ZERO_COUNT = _condition("hard", initial_count=0)
HARD_KEEP_UNUSED = _condition("hard", update_unused=False)
HARD_BOTH = _condition("hard", initial_count=0, update_unused=False)
HARD_LINE = _condition("hard", is_line=True)
HARD_FAST = _condition("hard", shrink_step=1)
HARD_SLOW = _condition("hard", shrink_step=0.01)

TABLE_1 = Table(
    "Sensitivity of EMA-VQ",
    ("N(0)", "update-0"),
    (
        Row(("0", "no"), EMA_BOTH, {"cifar10": _printed(148.8, 11.0, (13.5, 0.7))}),
        Row(("1", "no"), EMA_KEEP_UNUSED, {"cifar10": _printed(68.3, 0.8, (16.3, 1.4))}),
        Row(("0", "yes"), EMA_ZERO_COUNT, {"cifar10": _printed(52.1, 0.6, (6.8, 0.6))}),
        Row(("1", "yes"), EMA, {"cifar10": _printed(51.9, 0.2, (5.4, 0.5))}),
    ),
)

TABLE_2 = Table(
    "Loss and speed of Kohonen-VAEs",
    ("neighbors",),
    (
        Row(
            ("none",),
            EMA,
            {
                "cifar10": _printed(51.9, 0.2, (5.4, 0.5), (3.7, 0.5)),
                "imagenet": _printed(23.0, 0.4, (15.2, 1.6), (8.4, 0.6)),
                "faces": _printed(18.6, 1.0, (17.0, 1.0), (14.1, 1.4)),
            },
        ),
        Row(
            ("hard",),
            HARD,
            {
                "cifar10": _printed(52.1, 0.2, (5.2, 0.6), (2.5, 0.5)),
                "imagenet": _printed(23.5, 0.4, (13.6, 2.2), (7.4, 0.9)),
                "faces": _printed(17.3, 0.1, (17.0, 1.6), (10.8, 1.3)),
            },
        ),
        Row(
            ("Gaussian",),
            GAUSSIAN,
            {
                "cifar10": _printed(51.8, 0.2, (5.2, 0.6), (3.0, 0.0)),
                "imagenet": _printed(23.2, 0.4, (14.0, 1.4), (7.6, 0.6)),
                "faces": _printed(17.5, 0.3, (17.8, 1.8), (11.8, 1.3)),
            },
        ),
    ),
    has_steps_20=True,
)

TABLE_3 = Table(
    "Robustness of the map where EMA-VQ is sensitive",
    ("method", "N(0)", "update-0"),
    (
        Row(
            ("EMA-VQ", "0", "no"),
            EMA_BOTH,
            {
                "cifar10": _printed(148.8, 11.0, (13.5, 0.7)),
                "imagenet": _printed(44.7, 2.6, (13.5, 0.7)),
                "faces": _printed(37.3, 1.2, (21.2, 3.9)),
            },
        ),
        Row(
            ("KSOM", "0", "no"),
            HARD_BOTH,
            {
                "cifar10": _printed(51.8, 0.2, (5.2, 0.6)),
                "imagenet": _printed(24.4, 1.3, (12.6, 0.9)),
                "faces": _printed(17.4, 0.4, (17.6, 3.6)),
            },
        ),
        Row(
            ("EMA-VQ", "1", "no"),
            EMA_KEEP_UNUSED,
            {
                "cifar10": _printed(68.3, 0.8, (16.3, 1.4)),
                "imagenet": _printed(27.9, 1.0, (21.2, 1.5)),
                "faces": _printed(30.1, 2.8, (22.6, 0.5)),
            },
        ),
        Row(
            ("KSOM", "1", "no"),
            HARD_KEEP_UNUSED,
            {
                "cifar10": _printed(52.1, 0.3, (4.8, 0.9)),
                "imagenet": _printed(24.1, 1.3, (12.2, 1.3)),
                "faces": _printed(17.4, 0.2, (16.6, 1.5)),
            },
        ),
        Row(
            ("EMA-VQ", "0", "yes"),
            EMA_ZERO_COUNT,
            {
                "cifar10": _printed(52.1, 0.6, (6.8, 0.6)),
                "imagenet": _printed(23.6, 0.9, (15.4, 2.7)),
                "faces": _printed(18.0, 1.0, (17.6, 1.5)),
            },
        ),
        Row(
            ("KSOM", "0", "yes"),
            HARD_ZERO_COUNT,
            {
                "cifar10": _printed(51.9, 0.2, (4.8, 0.6)),
                "imagenet": _printed(23.7, 0.7, (14.2, 1.6)),
                "faces": _printed(17.2, 0.1, (16.8, 1.9)),
            },
        ),
    ),
)

TABLE_4 = Table(
    "One or two dimensions, and the shrinking step",
    ("neighbors", "tau"),
    (
        Row(
            ("hard 1-D", "0.1"),
            HARD_LINE,
            {
                "cifar10": _printed(52.0, 0.2, (5.3, 0.5), (3.1, 0.3)),
                "faces": _printed(17.4, 0.2, (15.8, 0.8), (10.8, 1.5)),
            },
        ),
        Row(
            ("hard 2-D", "1"),
            HARD_FAST,
            {
                "cifar10": _printed(52.1, 0.4, (4.7, 0.7), (2.6, 0.5)),
                "faces": _printed(17.4, 0.2, (18.0, 1.6), (11.4, 1.1)),
            },
        ),
        Row(
            ("hard 2-D", "0.1"),
            HARD,
            {
                "cifar10": _printed(52.0, 0.3, (4.9, 0.3), (2.4, 0.5)),
                "faces": _printed(17.3, 0.2, (18.0, 1.6), (12.4, 1.1)),
            },
        ),
        Row(
            ("hard 2-D", "0.01"),
            HARD_SLOW,
            {
                "cifar10": _printed(52.1, 0.3, (5.5, 0.7), (3.0, 0.0)),
                "faces": _printed(17.6, 0.3, (17.0, 2.9), (12.4, 2.1)),
            },
        ),
        Row(
            ("Gaussian 1-D", "0.1"),
            _condition("gaussian_wide", is_line=True),
            {
                "cifar10": _printed(51.9, 0.4, (5.2, 0.4), (3.1, 0.3)),
                "faces": _printed(17.8, 0.5, (18.0, 2.7), (11.6, 1.3)),
            },
        ),
        Row(
            ("Gaussian 2-D", "1"),
            _condition("gaussian_wide", shrink_step=1),
            {
                "cifar10": _printed(51.9, 0.2, (5.3, 0.5), (3.3, 0.5)),
                "faces": _printed(18.3, 0.4, (16.4, 1.9), (11.8, 1.8)),
            },
        ),
        Row(
            ("Gaussian 2-D", "0.1"),
            GAUSSIAN,
            {
                "cifar10": _printed(51.8, 0.3, (5.1, 0.3), (3.1, 0.3)),
                "faces": _printed(17.6, 0.2, (18.6, 2.1), (13.2, 0.8)),
            },
        ),
        Row(
            ("Gaussian 2-D", "0.01"),
            _condition("gaussian_wide", shrink_step=0.01),
            {
                "cifar10": _printed(51.7, 0.2, (5.4, 0.5), (3.6, 0.5)),
                "faces": _printed(17.5, 0.5, (18.4, 2.6), (11.8, 1.3)),
            },
        ),
    ),
    has_steps_20=True,
)

FIGURE_3 = Table(
    "Validation loss of EMA-VQ by N(0)",
    ("curve",),
    (Row(("N(0) = 0",), EMA_ZERO_COUNT), Row(("N(0) = 1",), EMA)),
)

FIGURE_4 = FIGURE_5 = Table(
    "The codebook and its neighborhoods", ("model",), (Row(("EMA-VQ",), EMA), Row(("KSOM",), HARD))
)

FIGURE_7 = Table("The codebooks of two levels", ("model",), (Row(("KSOM",), HARD),))

FIGURE_8 = FIGURE_9 = Table(
    "One of two levels moved", ("model",), (Row(("KSOM",), HARD), Row(("EMA-VQ",), EMA))
)

FIGURE_6 = Table(
    "Perplexity during training",
    ("curve",),
    (Row(("EMA-VQ",), EMA), Row(("hard",), HARD), Row(("Gaussian",), GAUSSIAN)),
)
