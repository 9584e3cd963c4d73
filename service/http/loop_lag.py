"""How late the event loop is: if work blocks it, every request waits, whatever else is idle."""

import asyncio
import time
from collections.abc import Callable

INTERVAL_S = 0.02


async def watch_event_loop(observe: Callable[[float], None]) -> None:
    """Until canceled, tell `observe` each `INTERVAL_S` by how many seconds the loop came too late to it."""
    while True:
        due = time.monotonic() + INTERVAL_S
        await asyncio.sleep(INTERVAL_S)
        observe(max(0.0, time.monotonic() - due))
