"""The models that are served, each with its batcher, and which version of each takes requests."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from starlette.types import Receive

from kohonen_tokenizer.pixels import Pixels

from ..batching.work import Rows
from ..errors import (
    CodebookMismatchError,
    InferenceError,
    ModelNotFoundError,
    NotReadyError,
)
from ..runtime.backend import Tokens
from ..runtime.levels import TokenLevel
from ..runtime.tokenizer import Tokenizer
from .body_threads import BodyThreads
from .canaries import Canaries
from .examples import Example, make_examples
from .inference import Inference
from .map_pictures import MapPictures
from .metrics import Metrics
from .self_check import check_model
from .settings import Settings
from .stages import recorded_stages, stages_of_work

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A verified bundle whose graphs run, and what requests call it."""

    name: str
    version: str
    tokenizer: Tokenizer


class ServedModel:
    """One version of a model at work.

    Attributes:
        name: what requests call it.
        version: which of its versions.
        tokenizer: for what is no work for the batcher.
        identity: what replies in JSON say of it, and tokens that are sent claim. Its name is the one that
            requests use, and not the one in the manifest: a bundle may be served under any.
        identity_headers: say in a reply which model made it; a binary body has no room for that.
        map_pictures: of its levels.
        examples: the calls to document, once it is warm.
        num_users: requests that hold it now.
        canaries: tell whether it is alive.
    """

    def __init__(
        self, loaded: LoadedModel, *, settings: Settings, threads: BodyThreads, metrics: Metrics
    ) -> None:
        """Start the batcher of `loaded`, on the event loop; `threads` prepare what it runs."""
        self.name = loaded.name
        self.version = loaded.version
        self.tokenizer = loaded.tokenizer
        codebook_hash = self.tokenizer.levels.sha256
        self.identity = {"model": self.name, "codebook_hash": codebook_hash}
        self.identity_headers = [
            (b"x-model", self.name.encode()),
            (b"x-model-version", self.version.encode()),
            (b"x-codebook-hash", codebook_hash.encode()),
        ]
        self.map_pictures = MapPictures(loaded.tokenizer)
        self.examples: Sequence[Example] = ()
        self.num_users = 0
        self._settings = settings
        self._metrics = metrics
        backend = self.tokenizer.backend
        self._inference = Inference(
            self.tokenizer,
            threads=threads,
            observe=metrics.observe_batch,
            max_batch_size=settings.max_batch_size or backend.max_batch_size,
            max_queue_images=settings.max_queue_images,
            max_wait_s=settings.max_wait_ms / 1000,
            num_runners=settings.num_parallel_runs or backend.num_parallel_runs,
        )
        self._batcher = self._inference.batcher
        self.canaries = Canaries(self._inference, tokenizer=self.tokenizer, name=self.name, settings=settings)

    @property
    def queue_s(self) -> float:
        """Seconds until all that waits now is through."""
        return self._batcher.queue_s

    @property
    def num_runs(self) -> int:
        """Runs of the model that take place now, for a picture of its map too."""
        return self._batcher.num_running + self.map_pictures.num_drawing

    def identity_with(self, level: TokenLevel) -> dict[str, str]:
        """The identity in a reply about one `level`, which it names where there are several."""
        named = {"level": level.level.name} if len(self.tokenizer.levels) > 1 else {}
        return self.identity | named

    async def encode(
        self,
        prepare: Callable[[], Pixels],
        *,
        deadline: float,
        receive: Receive | None = None,
        is_small: bool = False,
    ) -> Tokens:
        """Tokens, as `Tokenizer.encode_rows` gives them, of the images that `prepare` makes in a thread.

        `is_small` tells that B is 1, and that `prepare` makes it in no more time than the model takes.

        Raises:
            TokenizerError: as `Inference.run` has it, and what `prepare` raises.
            ClientDisconnect: the client left.
        """
        return await self._run("encode", prepare, deadline=deadline, receive=receive, is_small=is_small)

    async def decode(
        self, prepare: Callable[[], Tokens], *, deadline: float, receive: Receive | None = None
    ) -> Pixels:
        """Images of the tokens, as `Tokenizer.check_tokens` gives them, that `prepare` makes in a thread.

        Raises:
            TokenizerError: as `Inference.run` has it, and what `prepare` raises.
            ClientDisconnect: the client left.
        """
        return await self._run("decode", prepare, deadline=deadline, receive=receive)

    def prepare(self) -> None:
        """Check the model and make the examples, by running it both ways.

        Raises:
            Exception: whatever the model fails with.
        """
        check_model(self.tokenizer)
        self.examples = make_examples(self.tokenizer, name=self.name)

    def show(self) -> None:
        """Be the version that the metrics show."""
        codebook_hash = self.identity["codebook_hash"]
        self._metrics.watch_model(
            self.name, version=self.version, codebook_hash=codebook_hash, batcher=self._batcher
        )

    def close(self, *, timeout_s: float | None = None) -> None:
        """Finish what is queued and end the batcher; blocks for at most `timeout_s`, or the time to drain."""
        self.map_pictures.close()
        self._batcher.close(timeout_s=self._settings.drain_timeout_s if timeout_s is None else timeout_s)

    async def _run(
        self,
        operation: Literal["encode", "decode"],
        prepare: Callable[[], Rows],
        *,
        deadline: float,
        receive: Receive | None,
        is_small: bool = False,
    ) -> Rows:
        self.canaries.require_alive_to(operation)
        try:
            work = await self._inference.run(
                operation, prepare, deadline=deadline, receive=receive, is_small=is_small
            )
        except InferenceError:
            await self.canaries.require_alive_after_failure(operation, deadline=deadline)
            raise
        self._metrics.observe_work(operation, work)
        if (stages := recorded_stages.get()) is not None:
            stages += stages_of_work(work)
        assert work.result is not None
        return work.result


class Models:
    """The models by name. All of it is for the event loop alone, hence without locks.

    Attributes:
        missing: by name, the versions that should be served and cannot be.
    """

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}
        self._models: dict[str, ServedModel] = {}
        self._retired: list[ServedModel] = []

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    def put(self, model: ServedModel) -> None:
        """Have `model` answer from now on to its name; what another version began, it ends."""
        previous = self._models.get(model.name)
        self._models[model.name] = model
        self.missing.pop(model.name, None)
        model.show()
        if previous is not None:
            self._retired.append(previous)
            self._close_if_unused(previous)

    @contextmanager
    def use(self, name: str | None, *, codebook_hash: str | None = None) -> Iterator[ServedModel]:
        """The model `name`, or the only one; it stays while the context lasts, whatever takes its place.

        Raises:
            ModelNotFoundError: no such model, or no name where several are served.
            NotReadyError: none is there yet, or this one could not be started again.
            CodebookMismatchError: its codebook is not that of `codebook_hash`.
        """
        model = self.get(name)
        if codebook_hash is not None and codebook_hash != model.identity["codebook_hash"]:
            raise CodebookMismatchError(
                f"codebook {codebook_hash[:70]!r} is expected, and that of model {model.name} version "
                f"{model.version} is {model.identity['codebook_hash']!r}; use the model that made the tokens"
            )
        model.num_users += 1
        try:
            yield model
        finally:
            model.num_users -= 1
            self._close_if_unused(model)

    def get(self, name: str | None) -> ServedModel:
        """As `use`, for whoever does not wait while using it."""
        if not self._models:
            raise NotReadyError("the model warms up; try again in a second")
        if name is None and len(self._models) == 1 and not self.missing:
            return next(iter(self._models.values()))
        if name in self.missing:
            raise NotReadyError(
                f"model {name} could not be started again, see the server's log; try again, for another "
                "worker may have it, or use another model"
            )
        if name is None or name not in self._models:
            served = ", ".join(sorted(self._models)[:10])
            asked = "several models are served" if name is None else f"there is no model {name[:50]!r}"
            raise ModelNotFoundError(f"{asked}; give the parameter model as one of {served}")
        return self._models[name]

    def max_tokens_per_image(self, name: str | None) -> int:
        """Tokens of an image, on all levels, in the model `name`, or without a name in the one with most.

        Raises:
            ModelNotFoundError: no such model.
            NotReadyError: none is there yet.
        """
        models = list(self) if name is None and self._models else [self.get(name)]
        return max(math.prod(model.tokenizer.token_shape) for model in models)

    def close(self, *, timeout_s: float) -> None:
        """End every batcher; blocks until what is queued is done, at most for `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        for model in (*self._models.values(), *self._retired):
            model.close(timeout_s=max(0.0, deadline - time.monotonic()))

    def _close_if_unused(self, model: ServedModel) -> None:
        if model in self._retired and model.num_users == 0:
            self._retired.remove(model)
            logger.info("model %s version %s is retired", model.name, model.version)
            # In a thread, for it waits for the runners to end.
            asyncio.get_running_loop().run_in_executor(None, model.close)
