"""The experiments as they are written down: they name what the paper compares."""

from pathlib import Path

import pytest

from kohonen_tokenizer.training.cli import find_recipe
from kohonen_tokenizer.training.config import RunConfig
from kohonen_tokenizer.training.experiments.catalog import EXPERIMENTS
from kohonen_tokenizer.training.experiments.paper import TABLE_1, TABLE_2, TABLE_3, TABLE_4
from kohonen_tokenizer.training.experiments.runs import plan_runs


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_condition_fits_the_paper_s_recipe_and_differs_from_the_others(name: str) -> None:
    conditions = [row.condition for row in EXPERIMENTS[name].rows]
    recipe = RunConfig.from_toml(find_recipe("cifar10-ksom"))
    runs = plan_runs(conditions, recipe=recipe, num_seeds=2, steps=30_000, out=Path("out"))
    assert len({one.out for one in runs}) == len(runs) == 2 * len(conditions)
    assert len({str(one.config.to_dict()) for one in runs}) == len(runs)
    assert {one.config.validate_every for one in runs} == {1000}


def test_conditions_of_the_same_name_are_the_same() -> None:
    named = {}
    for table in EXPERIMENTS.values():
        for row in table.rows:
            assert named.setdefault(row.condition.name, row.condition) == row.condition


def test_table_3_shares_its_ema_rows_with_table_1() -> None:
    of_table_1 = {row.condition.name for row in TABLE_1.rows}
    assert {row.condition.name for row in TABLE_3.rows if row.labels[0] == "EMA-VQ"} < of_table_1


def test_the_printed_figures_are_those_of_the_paper() -> None:
    """Sums over the columns for CIFAR-10, taken from the paper by hand: a slip in one digit shows."""
    for table, loss, steps_10 in (
        (TABLE_1, 321.1, 42.0),
        (TABLE_2, 155.8, 15.8),
        (TABLE_3, 425.0, 51.4),
        (TABLE_4, 415.5, 41.4),
    ):
        printed = [row.printed["cifar10"] for row in table.rows]
        assert sum(one.loss.mean for one in printed) == pytest.approx(loss)
        assert sum(one.steps_10.mean for one in printed) == pytest.approx(steps_10)


def test_a_line_has_all_codes_of_the_recipe() -> None:
    line = next(row.condition for row in TABLE_4.rows if row.labels[0] == "hard 1-D")
    recipe = RunConfig.from_toml(find_recipe("cifar10-ksom"))
    (one,) = plan_runs([line], recipe=recipe, num_seeds=1, steps=10, out=Path("out"))
    assert one.config.model.quantizer.map_shape == (512,)
    assert one.config.validate_every == 1
