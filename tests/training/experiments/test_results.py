"""The paper's measures of a run, against tables small enough to judge by eye."""

import math

import pytest

from kohonen_tokenizer.training.checkpoint import LevelUsage, Validation
from kohonen_tokenizer.training.experiments.results import run_result, spread

LEVELS = {"top": 0, "bottom": 100}


def validations(*losses: float) -> list[Validation]:
    return [
        Validation(
            step=10 * (number + 1),
            loss=loss,
            psnr=20 + number,
            levels={
                level: LevelUsage(perplexity=number, codes_used=number + more)
                for level, more in LEVELS.items()
            },
        )
        for number, loss in enumerate(losses)
    ]


def test_the_loss_is_the_least_of_all_and_steps_count_to_the_first_within_reach() -> None:
    result = run_result(validations(9.0, 2.4, 2.2, 2.0, 2.5), seed=7)
    assert (result.loss, result.best_step, result.psnr, result.seed) == (2.0, 40, 23, 7)
    assert (result.perplexity, result.codes_used) == ((3, 3), (3, 103))
    assert result.steps_20 == 20  # 2.4 is 1.2 times 2.0
    assert result.steps_10 == 30  # 2.2 is 1.1 times 2.0, and it need not stay there


def test_a_run_that_starts_at_its_best_needs_one_validation() -> None:
    result = run_result(validations(1.0, 3.0), seed=0)
    assert (result.steps_10, result.steps_20, result.best_step) == (10, 10, 10)


def test_a_run_without_validations_is_refused() -> None:
    with pytest.raises(ValueError, match="no validations"):
        run_result([], seed=0)


def test_the_spread_is_the_sample_deviation() -> None:
    assert spread([1.0, 2.0, 4.5]) == pytest.approx((2.5, math.sqrt((1.5**2 + 0.5**2 + 2**2) / 2)))
    alone = spread([3.0])
    assert alone.mean == 3
    assert math.isnan(alone.std)
