"""Profiles: every thread's stack, in the formats that tools read."""

import asyncio
import threading
from collections import Counter

import pytest

from kohonen_tokenizer.service.errors import QueueFullError
from kohonen_tokenizer.service.http.profile import (
    SAMPLES_PER_S,
    Profiler,
    sample_stacks,
    to_collapsed,
    to_speedscope,
)

STACKS = Counter(
    {("loop", "run (a.py:1)", "step (a.py:9)"): 3, ("loop", "run (a.py:1)"): 1, ("body", "run (a.py:1)"): 2}
)


@pytest.fixture
def waiting_thread():
    """A thread that waits in `wait_for_the_end`."""
    end = threading.Event()
    begun = threading.Event()

    def wait_for_the_end():
        begun.set()
        end.wait()

    thread = threading.Thread(target=wait_for_the_end, name="waiter")
    thread.start()
    begun.wait()
    yield thread
    end.set()
    thread.join()


def test_other_threads_are_met_and_the_sampler_is_not(waiting_thread):
    samples_left = [5]

    def is_over():
        samples_left[0] -= 1
        return samples_left[0] < 0

    counts = sample_stacks(60.0, is_over=is_over)
    (stack,) = [stack for stack in counts if stack[0] == "waiter"]
    assert counts[stack] == 5
    names = [frame.split(" ")[0] for frame in stack[1:]]
    where = names.index("waiting_thread.<locals>.wait_for_the_end")
    assert names.index("Thread.run") < where < names.index("Event.wait")
    assert "http/test_profile.py:" in stack[where + 1]
    assert not [stack for stack in counts if stack[0] == threading.current_thread().name]


def test_one_profile_is_taken_at_a_time():
    profiler = Profiler()
    is_over = threading.Event()

    async def take_two():
        first = asyncio.create_task(profiler.profile(60.0, is_over=is_over.is_set))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="a profile is being taken") as error:
            await profiler.profile(3.0, is_over=is_over.is_set)
        assert error.value.retry_after_s == 3.0
        is_over.set()
        await first
        await profiler.profile(60.0, is_over=is_over.is_set)

    asyncio.run(take_two())


def test_collapsed_stacks_are_a_line_each():
    assert to_collapsed(STACKS) == (
        "body;run (a.py:1) 2\nloop;run (a.py:1) 1\nloop;run (a.py:1);step (a.py:9) 3\n"
    )


def test_speedscope_gets_a_profile_a_thread():
    file = to_speedscope(STACKS)
    names = [frame["name"] for frame in file["shared"]["frames"]]
    assert names == ["run (a.py:1)", "step (a.py:9)"]
    body, loop = file["profiles"]
    assert (body["name"], body["samples"], body["endValue"]) == ("body", [[0]], 2 / SAMPLES_PER_S)
    assert (loop["samples"], loop["endValue"]) == ([[0], [0, 1]], 4 / SAMPLES_PER_S)
    assert loop["weights"] == [1 / SAMPLES_PER_S, 3 / SAMPLES_PER_S]
