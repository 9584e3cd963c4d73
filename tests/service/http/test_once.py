"""A value that is made once, however many threads ask."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kohonen_tokenizer.service.http.once import Once


def test_many_threads_get_the_one_value():
    barrier = threading.Barrier(8)
    made = []

    def make() -> object:
        made.append(object())
        return made[-1]

    once = Once(make)

    def ask(_: int) -> object:
        barrier.wait(timeout=30)
        return once.get()

    with ThreadPoolExecutor(8) as pool:
        values = set(pool.map(ask, range(8)))
    assert values == {made[0]}
    assert len(made) == 1


def test_a_failure_is_not_kept():
    outcomes = iter([ZeroDivisionError(), None])

    def make() -> str:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        return "value"

    once = Once(make)
    with pytest.raises(ZeroDivisionError):
        once.get()
    assert once.get() == once.get() == "value"
