"""The client for asyncio.

B images, H W pixels, h w latent grid, K codebook_size, S steps; ... is any shape of tokens.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Sequence, Sized
from contextlib import aclosing
from types import TracebackType
from typing import Self, SupportsIndex, TypeVar

import httpx
import numpy as np
import numpy.typing as npt

from .base import BaseClient
from .batches import Batch, joined, slices
from .core import By, Edge, Resize, deadline_after, seconds_until, too_late
from .grids import GridBatch, LevelGrids, joined_grids, plain
from .http import FAILURES, HttpOptions, lost, reply_of, timeout_of
from .images import ImageGrouper, ImageSource, ManyImages, batches_of, count_of
from .progress import progress_bar
from .records import Codebook, Grids, IntegerGrids, IntegerTokens, Model, Neighbor, Pixels
from .tokens import as_given, grids_to_decode, grids_to_move
from .transport import Lost, Outcome, Prepare, Reply, Send, Steps

T = TypeVar("T")
A = TypeVar("A", bound=Sized)


class AsyncClient(BaseClient):
    """As `Client`, for one event loop: the same methods, awaited, and `codebook()` and `model()` among them.

    Canceling a call ends its requests. Files and plain iterables are read in threads.
    """

    async def encode(
        self,
        images: ManyImages | AsyncIterable[ImageSource],
        *,
        resize: Resize = "crop",
        progress: bool = False,
        deadline_s: float | None = None,
    ) -> Grids:
        """Tokens of `images`, which may come asynchronously: int32 [B, h, w] or by level.

        As `Client.encode`.
        """
        encoded = self._encoded(images, resize=resize, progress=progress, deadline_s=deadline_s)
        parts = [part async for part in encoded]
        return plain(joined_grids(parts, item_shapes=(await self.model()).latent_grids))

    async def encode_stream(
        self,
        images: ManyImages | AsyncIterable[ImageSource],
        *,
        resize: Resize = "crop",
        progress: bool = False,
        deadline_s: float | None = None,
    ) -> AsyncGenerator[Grids, None]:
        """The tokens of each image in turn, int32 [h, w] or by level. As `Client.encode_stream`.

        Whoever stops before the end should do so within `contextlib.aclosing`, which ends what is under way.
        """
        encoded = self._encoded(images, resize=resize, progress=progress, deadline_s=deadline_s)
        async with aclosing(encoded):
            async for part in encoded:
                for tokens in part.of_each_image():
                    yield tokens

    async def decode(self, tokens: IntegerGrids, *, deadline_s: float | None = None) -> Pixels:
        """Images of `tokens` [B, h, w], or by level: uint8 [B, H, W, 3]. As `Client.decode`."""
        deadline = deadline_after(deadline_s)
        model = await self._run(self._core.model(deadline=deadline))
        grids = grids_to_decode(tokens, model=model)
        batches = _each(slices(grids, kind=GridBatch, limits=self._core.limits))
        stream = self._stream(batches, lambda batch: self._core.decode(batch, deadline=deadline), deadline)
        parts = [part async for part in stream]
        return joined(parts, item_shape=model.image_shape, dtype=np.uint8)

    async def neighbors(
        self,
        token: SupportsIndex,
        *,
        radius: float | None = None,
        k: SupportsIndex | None = None,
        by: By = "map",
        level: str | None = None,
        deadline_s: float | None = None,
    ) -> list[Neighbor]:
        """The tokens near `token`, nearest first, never itself. As `Client.neighbors`."""
        deadline = deadline_after(deadline_s)
        steps = self._core.neighbors(token, radius=radius, k=k, by=by, level=level, deadline=deadline)
        return await self._run(steps)

    async def soft_targets(
        self,
        tokens: IntegerTokens | None = None,
        *,
        sigma: float,
        level: str | None = None,
        deadline_s: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Weights float32 [..., K] of all codes for `tokens` [...], or for all. As `Client.soft_targets`."""
        deadline = deadline_after(deadline_s)
        return await self._run(self._core.soft_targets(tokens, sigma=sigma, level=level, deadline=deadline))

    async def perturb(
        self,
        tokens: IntegerGrids,
        *,
        offset: Sequence[SupportsIndex],
        edge: Edge = "clamp",
        level: str | None = None,
        deadline_s: float | None = None,
    ) -> Grids:
        """`tokens` [h, w] or [B, h, w], or by level, moved over the map by `offset`. As `Client.perturb`."""
        deadline = deadline_after(deadline_s)
        model = await self._run(self._core.model(deadline=deadline))
        grids = grids_to_move(tokens, model=model, level=level)

        def steps(batch: Batch) -> Steps[list[LevelGrids]]:
            levels = list(grids.by_level)
            return self._core.perturb(
                batch, levels=levels, offset=offset, edge=edge, level=level, deadline=deadline
            )

        batches = _each(slices(grids, kind=GridBatch, limits=self._core.limits))
        parts = [part async for part in self._stream(batches, steps, deadline)]
        return as_given(joined_grids(parts, item_shapes=grids.item_shapes), tokens=tokens)

    async def interpolate(
        self,
        start: IntegerGrids,
        end: IntegerGrids,
        *,
        num_steps: SupportsIndex,
        level: str | None = None,
        deadline_s: float | None = None,
    ) -> Grids:
        """A path over the map from `start` [h, w] to `end`: int32 [S, h, w]. As `Client.interpolate`."""
        deadline = deadline_after(deadline_s)
        return await self._run(
            self._core.interpolate(start, end, num_steps=num_steps, level=level, deadline=deadline)
        )

    async def models(self, *, deadline_s: float | None = None) -> list[Model]:
        """The models that are served."""
        return await self._run(self._core.models(deadline=deadline_after(deadline_s)))

    async def model(self, *, deadline_s: float | None = None) -> Model:
        """The model that answers; asked once."""
        return await self._run(self._core.model(deadline=deadline_after(deadline_s)))

    async def codebook(self, *, level: str | None = None, deadline_s: float | None = None) -> Codebook:
        """Code vectors float32 [K, D] of `level` and their places on its map; fetched once."""
        return await self._run(self._core.codebook(level=level, deadline=deadline_after(deadline_s)))

    async def aclose(self) -> None:
        """Close the connections; what is under way fails."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _open(self, options: HttpOptions) -> None:
        self._http = httpx.AsyncClient(**options)

    async def _encoded(
        self,
        images: ManyImages | AsyncIterable[ImageSource],
        *,
        resize: Resize,
        progress: bool,
        deadline_s: float | None,
    ) -> AsyncGenerator[LevelGrids, None]:
        deadline = deadline_after(deadline_s)

        def steps(batch: Batch) -> Steps[list[LevelGrids]]:
            return self._core.encode(batch, resize=resize, deadline=deadline)

        stream = self._stream(self._batches(images), steps, deadline)
        with progress_bar(show=progress, total=count_of(images)) as advance:
            async with aclosing(stream):
                async for part in stream:
                    advance(len(part))
                    yield part

    async def _batches(self, images: ManyImages | AsyncIterable[ImageSource]) -> AsyncGenerator[Batch, None]:
        if not isinstance(images, AsyncIterable):
            batches = batches_of(images, limits=self._core.limits)
            # The iterable may read files or decode; the event loop does not wait for it.
            while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                yield batch
            return
        grouper = ImageGrouper(self._core.limits)
        async for image in images:
            for batch in grouper.add(image):
                yield batch
        for batch in grouper.rest():
            yield batch

    async def _stream(
        self,
        batches: AsyncGenerator[Batch, None],
        steps: Callable[[Batch], Steps[list[A]]],
        deadline: float,
    ) -> AsyncGenerator[A, None]:
        """The results of `steps` for each of `batches`, in their order, made in tasks."""
        # Before the tasks begin, so that all of them expect the same codebook.
        await self._run(self._core.model(deadline=deadline))
        places = asyncio.Semaphore(self._concurrency)
        window: deque[asyncio.Task[list[A]]] = deque()

        async def work(batch: Batch) -> list[A]:
            async with places:
                return await self._run(steps(batch))

        try:
            async with aclosing(batches):
                async for batch in batches:
                    window.append(asyncio.create_task(work(batch)))
                    if len(window) == self._num_ahead:
                        for part in await _result(window.popleft(), deadline):
                            yield part
            while window:
                for part in await _result(window.popleft(), deadline):
                    yield part
        finally:
            for task in window:
                task.cancel()
            await asyncio.gather(*window, return_exceptions=True)

    async def _run(self, steps: Steps[T]) -> T:
        """Do `steps`, and give what they return."""
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            match step:
                case Prepare():
                    outcome = await asyncio.to_thread(step.make)
                case Send():
                    outcome = await self._send(step)
                case _:
                    outcome = None
                    await asyncio.sleep(step.seconds)

    async def _send(self, step: Send) -> Reply | Lost:
        try:
            async with asyncio.timeout(step.timeout_s):
                response = await self._http.request(
                    step.method,
                    step.path,
                    params=list(step.params),
                    headers=step.headers,
                    content=step.content,
                    timeout=timeout_of(step),
                )
        except (TimeoutError, *FAILURES) as error:
            return lost(step, error)
        return reply_of(response, content=response.content)


async def _each(batches: Iterator[Batch]) -> AsyncGenerator[Batch, None]:
    for batch in batches:
        yield batch


async def _result(task: asyncio.Task[list[A]], deadline: float) -> list[A]:
    try:
        return await asyncio.wait_for(task, timeout=seconds_until(deadline))
    except TimeoutError:
        raise too_late() from None
