"""The rows of one request on their way through a batcher."""

import math
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

Rows = npt.NDArray[Any]


class Work:
    """What one request has for the model, and what becomes of it.

    Whoever wants the result makes one and submits it; the batcher fills it in and delivers it once.

    Attributes:
        deadline: the time, of `time.monotonic`, after which nobody waits for the result.
        num_rows: how many rows go in, B; 0 before the submission.
        rows: what goes in, [B, ...]; of unread work None until it is in a batch.
        prepare: makes `rows`, for whoever takes it first; None where they are made, or nobody waits.
        result: what came out, [B, ...] in the order of `rows`, if all went well.
        error: why there is no result.
        queue_s: seconds that the first row waited until it was in a batch.
        infer_s: seconds from then until the last row was out.
        batch_size: rows of the run that its last rows were in.
        num_taken: rows that are in batches or through them. This and what follows is the batcher's alone.
        num_out: rows whose results are in `result`.
        is_over: whether it was delivered, or canceled.
        since: the time, of `time.monotonic`, of its submission, and later of its first batch.
    """

    __slots__ = (
        "batch_size",
        "deadline",
        "error",
        "infer_s",
        "is_over",
        "num_out",
        "num_rows",
        "num_taken",
        "prepare",
        "queue_s",
        "result",
        "rows",
        "since",
    )

    def __init__(self, *, deadline: float = math.inf, prepare: Callable[[], Rows] | None = None) -> None:
        """Take the deadline, and what makes the rows if they do not come with the submission."""
        self.deadline = deadline
        self.num_rows = 0
        self.rows: Rows | None = None
        self.prepare = prepare
        self.result: Rows | None = None
        self.error: Exception | None = None
        self.queue_s = 0.0
        self.infer_s = 0.0
        self.batch_size = 0
        self.num_taken = 0
        self.num_out = 0
        self.is_over = False
        self.since = 0.0
