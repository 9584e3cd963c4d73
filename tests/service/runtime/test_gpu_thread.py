import gc
import threading
import time

import numpy as np
import pytest

from kohonen_tokenizer.service.runtime.gpu_thread import GpuThread


def test_all_work_of_a_backend_is_in_one_thread() -> None:
    thread = GpuThread()
    graph = thread.wrap(lambda rows: rows + threading.get_ident())
    places = {
        thread.load(threading.get_ident),
        thread.run(threading.get_ident),
        graph(np.zeros(1, int)).item(),
    }
    assert len(places) == 1
    assert threading.get_ident() not in places
    assert GpuThread().run(threading.get_ident) not in places


def test_errors_come_out_where_the_work_was_asked_for() -> None:
    def fail() -> None:
        raise RuntimeError("no memory")

    thread = GpuThread()
    for ask in (thread.run, thread.load):
        with pytest.raises(RuntimeError, match="no memory"):
            ask(fail)
    assert thread.load(lambda: "fine") == "fine"


def test_loads_come_one_at_a_time_and_runs_do_not_wait_for_them() -> None:
    first, second, third = GpuThread(), GpuThread(), GpuThread()
    goes_on, order = threading.Event(), []

    def load_slowly() -> None:
        order.append("first begins")
        goes_on.wait(timeout=30)
        order.append("first ends")

    loads = [
        threading.Thread(target=first.load, args=(load_slowly,)),
        threading.Thread(target=second.load, args=(lambda: order.append("second"),)),
    ]
    loads[0].start()
    while not order:
        time.sleep(0.001)
    loads[1].start()
    assert third.run(lambda: "ran") == "ran"
    goes_on.set()
    for load in loads:
        load.join()
    assert order == ["first begins", "first ends", "second"]


def test_the_thread_ends_with_its_owner() -> None:
    thread = GpuThread()
    worker = thread.run(threading.current_thread)
    del thread
    gc.collect()
    worker.join(timeout=30)
    assert not worker.is_alive()
