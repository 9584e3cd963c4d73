"""Pictures of the maps of a model, each drawn for the first who asks: it takes as many decodings as codes."""

import asyncio
import time
from functools import partial

from ..errors import DeadlineError
from ..runtime.images import encode_png
from ..runtime.tokenizer import Tokenizer
from .body_threads import BodyThreads

# Pixels of a side that show what a code stands for; 512 whole images of 256 pixels are a picture of 100 MB.
_MAX_TILE = 32


class MapPictures:
    """Draws one picture at a time, in a thread of its own, and keeps what it has drawn."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Start the thread; on the event loop."""
        self._tokenizer = tokenizer
        self._thread = BodyThreads(1, name="map")
        self._drawings: dict[str, asyncio.Task[bytes]] = {}

    @property
    def num_drawing(self) -> int:
        """Pictures that are drawn now: 0 or 1."""
        return self._thread.num_busy

    async def png(self, level: str, *, deadline: float) -> bytes:
        """The picture of the map of `level`.

        Raises:
            DeadlineError: it is not drawn yet; the drawing goes on for who asks next.
            Exception: whatever the model failed with; who asks next has it drawn again.
        """
        drawing = self._drawings.get(level)
        if drawing is None:
            drawing = asyncio.create_task(self._thread.run(partial(self._draw, level)))
            self._drawings[level] = drawing
        await asyncio.wait([drawing], timeout=max(0.0, deadline - time.monotonic()))
        if not drawing.done():
            raise DeadlineError("the map was not drawn by the deadline, and is drawn on; ask again later")
        if drawing.exception() is not None:
            self._drawings.pop(level, None)
        return drawing.result()

    def close(self) -> None:
        """Let the thread end after what it does now."""
        self._thread.close()

    def _draw(self, level: str) -> bytes:
        return encode_png(self._tokenizer.map_image(level=level, max_tile=_MAX_TILE))
