"""Canaries: an image and a token grid of zeros, which tell whether a model still runs, both ways."""

import asyncio
import logging
import time

import numpy as np

from ..batching.work import Rows
from ..errors import DeadlineError, InferenceError, NotReadyError, TokenizerError
from ..runtime.tokenizer import Tokenizer
from .inference import Inference
from .settings import Settings

logger = logging.getLogger(__name__)

OPERATIONS = ("encode", "decode")


class Canaries:
    """Tells whether a model is alive: by its last runs, and by canaries where there were none, or one failed.

    Attributes:
        are_under_way: whether `try_due` is under way.
    """

    def __init__(self, inference: Inference, *, tokenizer: Tokenizer, name: str, settings: Settings) -> None:
        """Take what runs `tokenizer` under the `name` that requests use."""
        self.are_under_way = False
        self._inference = inference
        self._name = name
        self._interval_s = settings.canary_interval_s
        self._timeout_s = settings.canary_timeout_s
        self._rows: dict[str, Rows] = {
            "encode": np.zeros((1, *tokenizer.image_shape), dtype=np.uint8),
            "decode": np.zeros((1, *tokenizer.token_shape), dtype=np.int32),
        }
        # Operations whose last canary failed, or did not come back.
        self._failing: set[str] = set()
        self._diagnoses: dict[str, asyncio.Task[None]] = {}

    async def try_due(self) -> None:
        """Run one image and one grid through the batcher, unless either ran lately all the same.

        Raises:
            TokenizerError: it did not come back in time, or failed.
        """
        self.are_under_way = True
        try:
            due = [
                operation
                for operation in OPERATIONS
                if operation in self._failing or self._idle_s(operation) >= self._interval_s
            ]
            # Side by side, so that one that fails or hangs does not keep the other from being tried.
            for outcome in await asyncio.gather(*map(self._try, due), return_exceptions=True):
                if outcome is not None:
                    raise outcome
        finally:
            self.are_under_way = False

    def require_alive(self) -> None:
        """Return if the model ran successfully, both ways, within the time that a canary may take.

        Raises:
            NotReadyError: it did not, or its last canary failed.
        """
        for operation in OPERATIONS:
            self.require_alive_to(operation)

    def require_alive_to(self, operation: str) -> None:
        """As `require_alive`, but for one operation."""
        if operation in self._failing or self._idle_s(operation) > self._timeout_s:
            raise NotReadyError(self._not_alive(operation))

    async def require_alive_after_failure(self, operation: str, *, deadline: float) -> None:
        """Return if the model still does `operation` on its canary: what failed was at fault itself.

        Raises:
            NotReadyError: it does not: the model fails, or what it runs on.
        """
        # One canary for all that failed together.
        if operation not in self._diagnoses:
            self._diagnoses[operation] = asyncio.create_task(self._diagnose(operation))
        await asyncio.wait([self._diagnoses[operation]], timeout=max(0.0, deadline - time.monotonic()))
        self.require_alive_to(operation)

    async def _diagnose(self, operation: str) -> None:
        try:
            await self._try(operation)
        except TokenizerError as error:
            logger.error("the canary of model %s failed: %s", self._name, error)
        finally:
            del self._diagnoses[operation]

    async def _try(self, operation: str) -> None:
        """Run one row of `operation` before all that waits, and note how that went.

        Raises:
            TokenizerError: it did not come back in time, or failed.
        """
        deadline = time.monotonic() + self._timeout_s
        try:
            await self._inference.run_urgently(operation, self._rows[operation], deadline=deadline)
        except (DeadlineError, InferenceError) as error:
            self._failing.add(operation)
            if isinstance(error, DeadlineError):
                # All else that waits would do so until its own deadline.
                self._inference.give_up(operation, reason=self._not_alive(operation))
            raise
        self._failing.discard(operation)

    def _idle_s(self, operation: str) -> float:
        return time.monotonic() - self._inference.batcher.last_success(operation)

    def _not_alive(self, operation: str) -> str:
        return (
            f"model {self._name} last managed to {operation} {self._idle_s(operation):.0f} s ago, the limit "
            f"is {self._timeout_s:g} s, or it fails on an image of its own since; see the server's log, and "
            "use another server meanwhile"
        )
