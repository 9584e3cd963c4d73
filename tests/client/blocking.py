"""asyncio's client called as if it blocked, so that one test is for both."""

import asyncio
import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

from kohonen_tokenizer_client import AsyncClient, Codebook, ServedLevel


class Blocking:
    """An AsyncClient on an event loop of its own, with the methods and attributes of a Client."""

    def __init__(self, client: AsyncClient, *, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        match name:
            case "codebook":
                return self._runner.run(self._client.codebook())
            case "levels":
                return {
                    level.name: ServedLevel(level, fetch=partial(self._codebook, level.name))
                    for level in self._runner.run(self._client.model()).levels
                }
            case "level" | "image_shape":
                return getattr(self._runner.run(self._client.model()), name)
            case "identity":
                model = self._runner.run(self._client.model())
                return {"model": model.name, "codebook_hash": model.codebook_hash}
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            result = method(*arguments, **options)
            return self._iterate(result) if inspect.isasyncgen(result) else self._runner.run(result)

        return call

    def _codebook(self, level: str) -> Codebook:
        return self._runner.run(self._client.codebook(level=level))

    def _iterate(self, items: Any) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(items, None)

        async def end() -> None:
            await items.aclose()

        try:
            while (item := self._runner.run(following())) is not None:
                yield item
        finally:
            self._runner.run(end())

    def close(self) -> None:
        """Close the client and the event loop."""
        self._runner.run(self._client.aclose())
        self._runner.close()
