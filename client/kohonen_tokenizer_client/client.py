"""The blocking client.

B images, H W pixels, h w latent grid, K codebook_size, S steps; ... is any shape of tokens.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import Any, Self, SupportsIndex, TypeVar

import httpx
import numpy as np
import numpy.typing as npt

from .base import BaseClient
from .batches import Batch, slices
from .core import By, Edge, Resize, as_grids, deadline_after, joined, seconds_until, too_late
from .http import FAILURES, HttpOptions, lost, reply_of, timeout_of
from .images import ManyImages, batches_of, count_of
from .progress import progress_bar
from .records import Codebook, IntegerTokens, Level, Model, Neighbor, Pixels, Tokens
from .transport import Lost, Outcome, Prepare, Reply, Send, Steps

T = TypeVar("T")
A = TypeVar("A", bound=npt.NDArray[Any])


class Client(BaseClient):
    """The tokenizer behind a URL, with the methods and arrays of the one in this process.

    Safe to use from several threads. The model is asked for once; from then on, or from the start with
    `codebook_hash`, every request says which codebook it expects, so that no other model's tokens get among
    those of this client.

    Every method that takes `deadline_s` ends within as many seconds, and raises a ClientError, the subclass
    that says what went wrong.
    """

    def encode(
        self,
        images: ManyImages,
        *,
        resize: Resize = "crop",
        progress: bool = False,
        deadline_s: float | None = None,
    ) -> Tokens:
        """Tokens of `images`: int32 [B, h, w], each 0 to K - 1.

        Args:
            images: uint8 [B, H, W, 3], or one image or any iterable of them: paths, bytes of files, Pillow
                images, arrays uint8 [H, W, 3].
            resize: what happens to images of another size than the model's; "strict" refuses them.
            progress: whether to show a bar.
            deadline_s: seconds for all of it.
        """
        parts = list(self._encoded(images, resize=resize, progress=progress, deadline_s=deadline_s))
        return joined(parts, item_shape=self.level.latent_grid, dtype=np.int32)

    def encode_stream(
        self,
        images: ManyImages,
        *,
        resize: Resize = "crop",
        progress: bool = False,
        deadline_s: float | None = None,
    ) -> Iterator[Tokens]:
        """The tokens of each image in turn, int32 [h, w], for more images than fit in memory.

        At most twice `concurrency` batches are read ahead. The arguments are those of `encode`.
        """
        for part in self._encoded(images, resize=resize, progress=progress, deadline_s=deadline_s):
            yield from part

    def decode(self, tokens: IntegerTokens, *, deadline_s: float | None = None) -> Pixels:
        """Images of `tokens` [B, h, w], of any integer dtype and each 0 to K - 1: uint8 [B, H, W, 3]."""
        deadline = deadline_after(deadline_s)
        batches = slices(as_grids(tokens), limits=self._core.limits)
        stream = self._stream(batches, lambda batch: self._core.decode(batch, deadline=deadline), deadline)
        return joined(list(stream), item_shape=self.image_shape, dtype=np.uint8)

    def neighbors(
        self,
        token: SupportsIndex,
        *,
        radius: float | None = None,
        k: SupportsIndex | None = None,
        by: By = "map",
        deadline_s: float | None = None,
    ) -> list[Neighbor]:
        """The tokens near `token`, nearest first, never itself.

        Args:
            token: 0 to K - 1.
            radius: every token at a distance on the map of at most this; 1.5, the default where `k` is not
                given either, takes in the eight around.
            k: this many nearest tokens.
            by: the distance that decides: on the map, or between code vectors (needs `k`).
            deadline_s: seconds for all of it.
        """
        steps = self._core.neighbors(token, radius=radius, k=k, by=by, deadline=deadline_after(deadline_s))
        return self._run(steps)

    def soft_targets(
        self, tokens: IntegerTokens | None = None, *, sigma: float, deadline_s: float | None = None
    ) -> npt.NDArray[np.float32]:
        """Weights float32 [..., K] of all codes for `tokens` [...], or for all K tokens; rows sum to 1.

        They fall with the distance d on the map as exp(-d^2 / (2 sigma^2)).
        """
        return self._run(self._core.soft_targets(tokens, sigma=sigma, deadline=deadline_after(deadline_s)))

    def perturb(
        self,
        tokens: IntegerTokens,
        *,
        offset: Sequence[SupportsIndex],
        edge: Edge = "clamp",
        deadline_s: float | None = None,
    ) -> Tokens:
        """`tokens` [h, w] or [B, h, w], moved over the map by `offset`, (dx, dy) or (dx,): int32.

        At the edge of the map "clamp" stops and "reflect" turns round.
        """
        deadline = deadline_after(deadline_s)
        grids = as_grids(tokens, or_one=True)

        def steps(batch: Batch) -> Steps[list[Tokens]]:
            return self._core.perturb(batch, offset=offset, edge=edge, deadline=deadline)

        parts = list(self._stream(slices(grids, limits=self._core.limits), steps, deadline))
        return joined(parts, item_shape=grids.shape[1:], dtype=np.int32).reshape(tokens.shape)

    def interpolate(
        self,
        start: IntegerTokens,
        end: IntegerTokens,
        *,
        num_steps: SupportsIndex,
        deadline_s: float | None = None,
    ) -> Tokens:
        """A straight path over the map from `start` [h, w] to `end`, both included: int32 [S, h, w]."""
        steps = self._core.interpolate(start, end, num_steps=num_steps, deadline=deadline_after(deadline_s))
        return self._run(steps)

    def models(self, *, deadline_s: float | None = None) -> list[Model]:
        """The models that are served."""
        return self._run(self._core.models(deadline=deadline_after(deadline_s)))

    @property
    def codebook(self) -> Codebook:
        """Code vectors float32 [K, D] and their places on the map; fetched once."""
        return self._run(self._core.codebook(deadline=deadline_after(None)))

    @property
    def level(self) -> Level:
        """The latent grid, the map's shape and the codebook's size; asked once."""
        return self._run(self._core.model(deadline=deadline_after(None))).level

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (H, W, 3) of the images that the model takes and makes; asked once."""
        return self._run(self._core.model(deadline=deadline_after(None))).image_shape

    @property
    def identity(self) -> dict[str, str]:
        """Which model speaks: its name and the hash of its codebook; asked once."""
        model = self._run(self._core.model(deadline=deadline_after(None)))
        return {"model": model.name, "codebook_hash": model.level.codebook_hash}

    def close(self) -> None:
        """Close the connections, when the requests under way are over."""
        # A connection that a thread is just opening would otherwise never be closed.
        self._threads.shutdown(cancel_futures=True)
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, options: HttpOptions) -> None:
        self._http = httpx.Client(**options)
        self._threads = ThreadPoolExecutor(self._concurrency, thread_name_prefix="tokenizer-client")

    def _encoded(
        self, images: ManyImages, *, resize: Resize, progress: bool, deadline_s: float | None
    ) -> Iterator[Tokens]:
        deadline = deadline_after(deadline_s)

        def steps(batch: Batch) -> Steps[list[Tokens]]:
            return self._core.encode(batch, resize=resize, deadline=deadline)

        stream = self._stream(batches_of(images, limits=self._core.limits), steps, deadline)
        with progress_bar(show=progress, total=count_of(images)) as advance, closing(stream):
            for part in stream:
                advance(len(part))
                yield part

    def _stream(
        self, batches: Iterator[Batch], steps: Callable[[Batch], Steps[list[A]]], deadline: float
    ) -> Generator[A, None, None]:
        """The results of `steps` for each of `batches`, in their order, made in threads."""
        # Before the threads begin, so that all of them expect the same codebook.
        self._run(self._core.model(deadline=deadline))
        stop = threading.Event()
        window: deque[Future[list[A]]] = deque()
        try:
            for batch in batches:
                window.append(self._threads.submit(self._run, steps(batch), stop=stop))
                if len(window) == self._num_ahead:
                    yield from _result(window.popleft(), deadline)
            while window:
                yield from _result(window.popleft(), deadline)
        finally:
            stop.set()
            for future in window:
                future.cancel()

    def _run(self, steps: Steps[T], *, stop: threading.Event | None = None) -> T:
        """Do `steps`, and give what they return; after `stop` no step is begun."""
        stop = stop or threading.Event()
        outcome: Outcome = None
        while not stop.is_set():
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            match step:
                case Prepare():
                    outcome = step.make()
                case Send():
                    outcome = self._send(step)
                case _:
                    outcome = None
                    stop.wait(step.seconds)
        raise CancelledError

    def _send(self, step: Send) -> Reply | Lost:
        end = time.monotonic() + step.timeout_s
        chunks = []
        try:
            with self._http.stream(
                step.method,
                step.path,
                params=list(step.params),
                headers=step.headers,
                content=step.content,
                timeout=timeout_of(step),
            ) as response:
                for chunk in response.iter_bytes():
                    chunks.append(chunk)
                    # httpx counts the time of each piece anew.
                    if time.monotonic() > end:
                        return lost(step, TimeoutError())
        except FAILURES as error:
            return lost(step, error)
        return reply_of(response, content=b"".join(chunks))


def _result(future: Future[list[A]], deadline: float) -> list[A]:
    try:
        return future.result(timeout=seconds_until(deadline))
    except TimeoutError:
        raise too_late() from None
