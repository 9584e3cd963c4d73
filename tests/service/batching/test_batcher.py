"""The batcher: who shares a run with whom, and that each gets its own, whatever happens to the others."""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

from kohonen_tokenizer.service.batching.batcher import Batcher
from kohonen_tokenizer.service.batching.work import Work
from kohonen_tokenizer.service.errors import DeadlineError, InferenceError, QueueFullError, StoppingError

TIMEOUT_S = 3


class Model:
    """Doubles what it is given, as its gate lets runs through, and keeps what each was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.bad = -1
        self._gate = threading.Semaphore(0)
        self.is_open = True
        self.entered = threading.Semaphore(0)

    def close(self) -> None:
        """Hold every run from now on, until `let_through` or `open`."""
        self.is_open = False

    def let_through(self, num_runs: int = 1) -> None:
        for _ in range(num_runs):
            self._gate.release()

    def open(self) -> None:
        self.is_open = True
        self.let_through(1000)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.batches.append(rows[:, 0].tolist())
        self.entered.release()
        if not self.is_open:
            assert self._gate.acquire(timeout=TIMEOUT_S)
        if self.bad in rows:
            raise ValueError("a bad row")
        return 2 * rows


class Client:
    """Submits work and waits for its delivery."""

    def __init__(self) -> None:
        self.delivered: list[Work] = []
        self._changed = threading.Condition()

    def deliver(self, works: list[Work]) -> None:
        with self._changed:
            self.delivered += works
            self._changed.notify_all()

    def wait_for(self, *works: Work) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: all(w in self.delivered for w in works), timeout=TIMEOUT_S)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def make_batcher(model, client) -> Iterator[Callable[..., Batcher]]:
    made = []

    def make(**options: object) -> Batcher:
        options = {"max_batch_size": 8, "max_queue_images": 64, **options}
        batcher = Batcher(
            {"encode": model, "decode": model}, deliver=client.deliver, observe=lambda *_: None, **options
        )
        made.append(batcher)
        return batcher

    yield make
    model.open()
    for batcher in made:
        batcher.close(timeout_s=TIMEOUT_S)


def rows_of(*values: int) -> np.ndarray:
    return np.array(values)[:, np.newaxis]


def submit(batcher: Batcher, *values: int, operation: str = "encode", **options: float) -> Work:
    work = Work(**options)
    batcher.submit(operation, work, rows=rows_of(*values))
    return work


@contextmanager
def busy(batcher: Batcher, model: Model) -> Iterator[None]:
    """While the only runner is in a run."""
    model.close()
    submit(batcher, 0)
    assert model.entered.acquire(timeout=TIMEOUT_S)
    yield
    model.open()


def test_a_lone_work_runs_at_once_and_comes_back(make_batcher, model, client):
    work = submit(make_batcher(), 1, 2, 3)
    client.wait_for(work)
    assert work.error is None
    assert np.array_equal(work.result, rows_of(2, 4, 6))
    assert model.batches == [[1, 2, 3]]


def test_what_comes_while_the_model_is_busy_shares_the_next_run(make_batcher, model, client):
    batcher = make_batcher()
    with busy(batcher, model):
        works = [submit(batcher, 10 * index, 10 * index + 1) for index in range(1, 4)]
        assert batcher.num_queued == 6
    client.wait_for(*works)
    assert model.batches == [[0], [10, 11, 20, 21, 30, 31]]
    for index, work in enumerate(works, start=1):
        assert np.array_equal(work.result, rows_of(20 * index, 20 * index + 2))
    assert batcher.num_queued == 0


def test_large_work_is_split_and_what_follows_fills_the_last_batch(make_batcher, model, client):
    batcher = make_batcher(max_batch_size=4)
    with busy(batcher, model):
        large = submit(batcher, *range(1, 11))
        small = submit(batcher, 20, 21, 22)
    client.wait_for(large, small)
    assert model.batches[1:] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 20, 21], [22]]
    assert np.array_equal(large.result, 2 * rows_of(*range(1, 11)))
    assert np.array_equal(small.result, rows_of(40, 42, 44))


def test_works_are_delivered_in_the_order_of_their_coming(make_batcher, model, client):
    batcher = make_batcher(max_batch_size=3)
    with busy(batcher, model):
        works = [submit(batcher, *range(size)) for size in (2, 5, 1, 7, 3)]
    client.wait_for(*works)
    assert client.delivered[1:] == works


def test_urgent_work_goes_first(make_batcher, model, client):
    batcher = make_batcher(max_batch_size=1)
    with busy(batcher, model):
        usual = submit(batcher, 1)
        urgent = Work()
        batcher.submit("encode", urgent, rows=rows_of(2), urgent=True)
    client.wait_for(usual, urgent)
    assert model.batches == [[0], [2], [1]]


def test_operations_take_turns(make_batcher, model, client):
    batcher = make_batcher(max_batch_size=1)
    with busy(batcher, model):
        encodes = [submit(batcher, index) for index in (1, 2, 3)]
        decodes = [submit(batcher, index, operation="decode") for index in (11, 12)]
    client.wait_for(*encodes, *decodes)
    assert model.batches[1:] == [[11], [1], [12], [2], [3]]


def test_idle_runners_share_a_large_work(make_batcher, model, client):
    batcher = make_batcher(num_runners=2, max_batch_size=64)
    # Both runners must be waiting before there is something to share.
    time.sleep(0.05)
    model.close()
    work = submit(batcher, *range(10))
    for _ in range(2):
        assert model.entered.acquire(timeout=TIMEOUT_S)
    assert sorted(map(len, model.batches)) == [5, 5]
    model.open()
    client.wait_for(work)
    assert np.array_equal(work.result, 2 * rows_of(*range(10)))


def test_a_full_batch_does_not_wait_behind_one_that_fills(make_batcher, model, client):
    batcher = make_batcher(max_batch_size=2, max_wait_s=60.0)
    model.close()
    first = submit(batcher, 1, 2)
    assert model.entered.acquire(timeout=TIMEOUT_S)
    # It is the turn of the other operation now.
    submit(batcher, 3, operation="decode")
    full = submit(batcher, 4, 5)
    model.open()
    client.wait_for(first, full)
    assert model.batches == [[1, 2], [4, 5]]


def test_idle_runners_do_not_take_a_batch_apart_that_was_to_be_full(make_batcher, model, client):
    batcher = make_batcher(num_runners=2, max_batch_size=4, max_wait_s=60.0)
    time.sleep(0.05)
    full = submit(batcher, 1, 2, 3, 4)
    client.wait_for(full)
    assert model.batches == [[1, 2, 3, 4]]


def test_canceled_work_leaves_the_memory_while_the_model_hangs(make_batcher, model):
    batcher = make_batcher()
    with busy(batcher, model):
        waiting, canceled = submit(batcher, 1), Work()
        rows = rows_of(2)
        batcher.submit("encode", canceled, rows=rows)
        rows_are_there = weakref.ref(rows)
        batcher.cancel("encode", canceled)
        del canceled, rows
        assert rows_are_there() is None
        assert not waiting.is_over


def test_reading_counts_in_the_rate_at_which_the_queue_shrinks(make_batcher, model, client):
    batcher = make_batcher()
    unread = Work(prepare=lambda: time.sleep(0.1) or rows_of(1))
    batcher.submit_unread("encode", unread)
    client.wait_for(unread)
    with busy(batcher, model):
        submit(batcher, 2)
        assert batcher.queue_s > 0.05


def test_a_bad_row_fails_its_own_work_only(make_batcher, model, client, caplog):
    model.bad = 13
    batcher = make_batcher()
    with busy(batcher, model):
        works = [submit(batcher, 1, 2), submit(batcher, 12, 13), submit(batcher, 3)]
    client.wait_for(*works)
    assert [work.error for work in (works[0], works[2])] == [None, None]
    assert np.array_equal(works[0].result, rows_of(2, 4))
    assert np.array_equal(works[2].result, rows_of(6))
    assert isinstance(works[1].error, InferenceError)
    assert works[1].result is None
    assert model.batches[1:] == [[1, 2, 12, 13, 3], [1, 2], [12, 13], [3]]
    assert "a bad row" in caplog.text


def test_a_large_work_with_a_bad_row_fails_once_and_its_rest_is_dropped(make_batcher, model, client, caplog):
    model.bad = 2
    batcher = make_batcher(max_batch_size=2)
    with busy(batcher, model):
        bad = submit(batcher, 1, 2, 3, 4, 5, 6)
        good = submit(batcher, 7)
    client.wait_for(bad, good)
    assert isinstance(bad.error, InferenceError)
    assert client.delivered.count(bad) == 1
    assert np.array_equal(good.result, rows_of(14))
    assert model.batches[1:] == [[1, 2], [7]]


def test_unread_work_is_read_in_its_batch_and_fails_alone(make_batcher, model, client):
    readers = []

    def read(value: int) -> np.ndarray:
        readers.append(threading.current_thread().name)
        if value == 13:
            raise ValueError("not a number")
        return rows_of(value)

    batcher = make_batcher()
    works = {value: Work(prepare=partial(read, value)) for value in (1, 13, 2)}
    with busy(batcher, model):
        for work in works.values():
            batcher.submit_unread("encode", work)
        assert batcher.num_queued == 3
        assert readers == []
    client.wait_for(*works.values())
    assert readers == ["runner-0"] * 3
    assert model.batches == [[0], [1, 2]]
    assert [works[value].result.tolist() for value in (1, 2)] == [[[2]], [[4]]]
    assert str(works[13].error) == "not a number"
    assert batcher.num_queued == 0


def test_unread_work_that_is_canceled_is_not_read(make_batcher, model, client):
    def read() -> np.ndarray:
        raise AssertionError("nobody waits for this")

    batcher = make_batcher()
    with busy(batcher, model):
        canceled = Work(prepare=read)
        batcher.submit_unread("encode", canceled)
        batcher.cancel("encode", canceled)
        kept = submit(batcher, 1)
    client.wait_for(kept)
    assert model.batches == [[0], [1]]


def test_what_is_too_late_does_not_run(make_batcher, model, client):
    batcher = make_batcher()
    with busy(batcher, model):
        late = submit(batcher, 1, deadline=time.monotonic() + 0.01)
        on_time = submit(batcher, 2, deadline=time.monotonic() + TIMEOUT_S)
        time.sleep(0.02)
    client.wait_for(late, on_time)
    assert isinstance(late.error, DeadlineError)
    assert model.batches == [[0], [2]]


def test_canceled_work_leaves_the_queue_and_is_not_delivered(make_batcher, model, client):
    batcher = make_batcher()
    with busy(batcher, model):
        canceled = submit(batcher, 1, 2, 3)
        kept = submit(batcher, 4)
        batcher.cancel("encode", canceled)
        assert batcher.num_queued == 1
    client.wait_for(kept)
    assert canceled not in client.delivered
    assert model.batches == [[0], [4]]


def test_work_canceled_before_its_submission_is_not_queued(make_batcher, model):
    batcher = make_batcher()
    work = Work()
    batcher.cancel("encode", work)
    with busy(batcher, model):
        batcher.submit("encode", work, rows=rows_of(1))
        assert batcher.num_queued == 0


def test_work_canceled_in_a_run_does_not_disturb_the_rest(make_batcher, model, client):
    batcher = make_batcher(max_batch_size=2)
    model.close()
    first = submit(batcher, 1, 2, 3)
    assert model.entered.acquire(timeout=TIMEOUT_S)
    second = submit(batcher, 4)
    batcher.cancel("encode", first)
    model.open()
    client.wait_for(second)
    assert first not in client.delivered
    assert model.batches == [[1, 2], [4]]


def test_the_queue_takes_all_rows_of_a_work_or_none(make_batcher, model):
    batcher = make_batcher(max_queue_images=5)
    with busy(batcher, model):
        submit(batcher, 1, 2, 3)
        with pytest.raises(QueueFullError, match="3 images wait and 3 more would pass the limit of 5"):
            submit(batcher, 4, 5, 6)
        assert batcher.num_queued == 3
        submit(batcher, 7, 8)
        assert batcher.num_queued == 5


def test_a_full_queue_tells_when_it_will_have_room(make_batcher, model, client):
    batcher = make_batcher(max_queue_images=4)
    model.close()
    slow = submit(batcher, 1)
    assert model.entered.acquire(timeout=TIMEOUT_S)
    time.sleep(0.1)
    model.let_through()
    client.wait_for(slow)
    # One row took a tenth of a second, so four take four.
    submit(batcher, 2)
    assert model.entered.acquire(timeout=TIMEOUT_S)
    submit(batcher, 3, 4, 5, 6)
    with pytest.raises(QueueFullError) as full:
        submit(batcher, 7)
    assert full.value.retry_after_s == pytest.approx(batcher.queue_s)
    assert full.value.retry_after_s >= 0.4


def test_work_that_would_be_late_is_refused_at_once(make_batcher, model, client):
    batcher = make_batcher()
    model.close()
    slow = submit(batcher, 1)
    assert model.entered.acquire(timeout=TIMEOUT_S)
    time.sleep(0.1)
    model.let_through()
    client.wait_for(slow)
    submit(batcher, 2)
    assert model.entered.acquire(timeout=TIMEOUT_S)
    submit(batcher, 3, 4, 5)
    with pytest.raises(QueueFullError, match="the deadline comes before"):
        submit(batcher, 6, deadline=time.monotonic() + 0.2)
    submit(batcher, 6, deadline=time.monotonic() + TIMEOUT_S)


def test_a_runner_waits_for_more_only_if_told_to(make_batcher, model, client):
    batcher = make_batcher(max_wait_s=TIMEOUT_S, max_batch_size=4)
    first = submit(batcher, 1)
    second = submit(batcher, 2, 3, 4)
    client.wait_for(first, second)
    assert model.batches == [[1, 2, 3, 4]]


def test_a_runner_waits_no_longer_than_it_is_told_to(make_batcher, model, client):
    batcher = make_batcher(max_wait_s=0.02)
    work = submit(batcher, 1)
    client.wait_for(work)
    assert work.queue_s >= 0.02


def test_closing_finishes_what_is_queued_and_takes_no_more(make_batcher, model, client):
    batcher = make_batcher(max_batch_size=1)
    with busy(batcher, model):
        works = [submit(batcher, index) for index in range(1, 5)]
        closing = threading.Thread(target=batcher.close)
        closing.start()
        wait_until(lambda: refuses(batcher))
    closing.join(TIMEOUT_S)
    assert not closing.is_alive()
    assert [work.result[0, 0] for work in works] == [2, 4, 6, 8]


def refuses(batcher: Batcher) -> bool:
    try:
        submit(batcher, 0, deadline=0.0)
    except StoppingError:
        return True
    return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_run_that_hangs_does_not_hold_up_closing(make_batcher, model):
    batcher = make_batcher()
    with busy(batcher, model):
        batcher.close(timeout_s=0.05)
        assert batcher.num_running == 1


def test_the_last_success_is_of_each_operation(make_batcher, model, client):
    batcher = make_batcher()
    before = time.monotonic()
    client.wait_for(submit(batcher, 1))
    assert before <= batcher.last_success("encode") <= time.monotonic()
    assert batcher.last_success("decode") == -np.inf


def test_a_run_that_fails_is_no_success(make_batcher, model, client, caplog):
    model.bad = 1
    batcher = make_batcher()
    client.wait_for(submit(batcher, 1))
    assert batcher.last_success("encode") == -np.inf


def test_an_observer_that_fails_costs_its_own_batch_only(model, client, caplog):
    def observe(operation: str, num_rows: int, seconds: float) -> None:
        if num_rows == 2:
            raise RuntimeError("a bug")

    batcher = Batcher(
        {"encode": model}, deliver=client.deliver, observe=observe, max_batch_size=8, max_queue_images=8
    )
    bad = submit(batcher, 1, 2)
    client.wait_for(bad)
    good = submit(batcher, 3)
    client.wait_for(good)
    batcher.close(timeout_s=TIMEOUT_S)
    assert isinstance(bad.error, InferenceError)
    assert np.array_equal(good.result, rows_of(6))
    assert "a bug" in caplog.text


@pytest.mark.parametrize("num_runners", [1, 3])
def test_thousands_of_works_from_many_threads_each_get_their_own(make_batcher, client, num_runners, caplog):
    caplog.set_level(logging.CRITICAL)
    batcher = make_batcher(num_runners=num_runners, max_batch_size=7, max_queue_images=10**6)
    works: list[tuple[Work, np.ndarray]] = []
    canceled: list[Work] = []

    def run(seed: int) -> None:
        random = np.random.default_rng(seed)
        for index in range(150):
            rows = random.integers(0, 1000, size=(random.integers(1, 20), 1))
            work = Work()
            batcher.submit(("encode", "decode")[index % 2], work, rows=rows)
            if index % 10 == 9:
                batcher.cancel(("encode", "decode")[index % 2], work)
                canceled.append(work)
            else:
                works.append((work, rows))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batcher.close(timeout_s=TIMEOUT_S)
    for work, rows in works:
        assert np.array_equal(work.result, 2 * rows)
    # Once each, and of the canceled ones only those that were through before.
    assert len(set(map(id, client.delivered))) == len(client.delivered)
    assert {id(work) for work, _ in works} <= {id(work) for work in client.delivered}
    assert batcher.num_queued == 0
