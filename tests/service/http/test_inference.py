"""Waiting for the model, and for threads, by coroutines: who is let go keeps nothing in memory."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from kohonen_tokenizer.service.errors import DeadlineError, InputError, QueueFullError
from kohonen_tokenizer.service.http.body_threads import BodyThreads
from kohonen_tokenizer.service.http.inference import Inference

TIMEOUT_S = 3


class Body:
    """What a request has sent; a weak reference tells whether it is still in memory."""

    def __init__(self, num_rows: int = 1) -> None:
        self.num_rows = num_rows

    def refuse(self) -> np.ndarray:
        raise InputError("no images; send some")

    def rows(self) -> np.ndarray:
        return np.zeros((self.num_rows, 1))


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def threads() -> Iterator[BodyThreads]:
    threads = BodyThreads(1)
    yield threads
    threads.close()


def make_inference(
    threads: BodyThreads, *, encode: Callable[[np.ndarray], np.ndarray] = np.copy
) -> Inference:
    backend = SimpleNamespace(encode=encode, decode=np.copy, is_on_cpu=False)
    return Inference(
        SimpleNamespace(backend=backend),
        threads=threads,
        observe=lambda *_: None,
        max_batch_size=4,
        max_queue_images=8,
        max_wait_s=0.0,
        num_runners=1,
    )


async def is_kept_after(
    ask: Callable[[Body], Awaitable[object]], body: Body, *, error: type[Exception]
) -> bool:
    """Whether anything holds `body` after `ask`, which must fail on it, with `error`."""
    kept = weakref.ref(body)
    with pytest.raises(error):
        await ask(body)
    del body
    # The thread that did it may be about to let go of it.
    await asyncio.sleep(0.05)
    return kept() is not None


@pytest.mark.usefixtures("no_garbage_collector")
def test_a_refused_body_leaves_the_memory_at_once(threads):
    async def ask() -> None:
        inference = make_inference(threads)
        deadline = time.monotonic() + TIMEOUT_S

        async def encode(body: Body, *, is_refused: bool) -> None:
            await inference.run("encode", body.refuse if is_refused else body.rows, deadline=deadline)

        assert not await is_kept_after(partial(encode, is_refused=True), Body(), error=InputError)
        assert not await is_kept_after(partial(encode, is_refused=False), Body(9), error=QueueFullError)
        assert not await is_kept_after(lambda body: threads.run(body.refuse), Body(), error=InputError)
        inference.batcher.close(timeout_s=TIMEOUT_S)

    asyncio.run(ask())


@pytest.mark.usefixtures("no_garbage_collector")
def test_a_body_that_nobody_waits_for_leaves_the_memory_while_all_threads_are_busy(threads):
    async def ask() -> None:
        inference = make_inference(threads)
        gate = threading.Event()
        threads.submit(lambda: gate.wait(TIMEOUT_S))

        async def encode(body: Body) -> None:
            await inference.run("encode", body.rows, deadline=time.monotonic() + 0.05)

        is_kept = await is_kept_after(encode, Body(), error=DeadlineError)
        gate.set()
        inference.batcher.close(timeout_s=TIMEOUT_S)
        assert not is_kept

    asyncio.run(ask())


@pytest.mark.usefixtures("no_garbage_collector")
def test_a_model_that_is_retired_leaves_the_memory(threads):
    class Model:
        def encode(self, rows: np.ndarray) -> np.ndarray:
            return rows

    async def retire() -> None:
        model = Model()
        kept = weakref.ref(model)
        inference = make_inference(threads, encode=model.encode)
        await inference.run("encode", Body().rows, deadline=time.monotonic() + TIMEOUT_S)
        inference.batcher.close(timeout_s=TIMEOUT_S)
        del inference, model
        await asyncio.sleep(0.05)
        assert kept() is None

    asyncio.run(retire())


def test_urgent_work_waits_for_no_thread(threads):
    async def ask() -> None:
        inference = make_inference(threads)
        gate = threading.Event()
        threads.submit(lambda: gate.wait(TIMEOUT_S))
        work = await inference.run_urgently("encode", np.ones((1, 1)), deadline=time.monotonic() + TIMEOUT_S)
        gate.set()
        inference.batcher.close(timeout_s=TIMEOUT_S)
        assert np.array_equal(work.result, np.ones((1, 1)))

    asyncio.run(ask())
