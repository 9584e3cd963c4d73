"""What a process of multiprocessing does when the one that started it is gone."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import wait
from threading import Thread


def when_parent_ends(act: Callable[[], object]) -> None:
    """Call `act`, from a thread, when the process that started this one has ended, however it did."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # the program itself has none
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        act()

    Thread(target=watch, name="when-parent-ends", daemon=True).start()
