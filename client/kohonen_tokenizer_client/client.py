"""The blocking client.

B images, H W pixels, h w latent grid, K codebook_size, S steps; ... is any shape of tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from .batches import Batch, joined, slices
from .core import By, Edge, Resize, deadline_after
from .grids import GridBatch, LevelGrids, joined_grids, plain
from .images import ManyImages, batches_of, count_of
from .progress import progress_bar
from .records import Codebook, Grids, IntegerGrids, IntegerTokens, Level, Model, Neighbor, Pixels
from .served_level import ServedLevel
from .threaded import ThreadedClient
from .tokens import as_given, grids_to_decode, grids_to_move
from .transport import Steps


class Client(ThreadedClient):
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
    ) -> Grids:
        """Tokens of `images`: int32 [B, h, w], each 0 to K - 1; of several levels those of each, by its name.

        Args:
            images: uint8 [B, H, W, 3], or one image or any iterable of them: paths, bytes of files, Pillow
                images, arrays uint8 [H, W, 3].
            resize: what happens to images of another size than the model's; "strict" refuses them.
            progress: whether to show a bar.
            deadline_s: seconds for all of it.
        """
        parts = list(self._encoded(images, resize=resize, progress=progress, deadline_s=deadline_s))
        return plain(joined_grids(parts, item_shapes=self._model.latent_grids))

    def encode_stream(
        self,
        images: ManyImages,
        *,
        resize: Resize = "crop",
        progress: bool = False,
        deadline_s: float | None = None,
    ) -> Iterator[Grids]:
        """The tokens of each image in turn, int32 [h, w] or by level, for more images than fit in memory.

        At most twice `concurrency` batches are read ahead. The arguments are those of `encode`.
        """
        for part in self._encoded(images, resize=resize, progress=progress, deadline_s=deadline_s):
            yield from part.of_each_image()

    def decode(self, tokens: IntegerGrids, *, deadline_s: float | None = None) -> Pixels:
        """Images of `tokens` [B, h, w], of any integer dtype and each 0 to K - 1: uint8 [B, H, W, 3].

        Of several levels, those of each by its name, as `encode` gives them.
        """
        deadline = deadline_after(deadline_s)
        grids = grids_to_decode(tokens, model=self._run(self._core.model(deadline=deadline)))
        batches = slices(grids, kind=GridBatch, limits=self._core.limits)
        stream = self._stream(batches, lambda batch: self._core.decode(batch, deadline=deadline), deadline)
        return joined(list(stream), item_shape=self.image_shape, dtype=np.uint8)

    def neighbors(
        self,
        token: SupportsIndex,
        *,
        radius: float | None = None,
        k: SupportsIndex | None = None,
        by: By = "map",
        level: str | None = None,
        deadline_s: float | None = None,
    ) -> list[Neighbor]:
        """The tokens near `token`, nearest first, never itself.

        Args:
            token: 0 to K - 1.
            radius: every token at a distance on the map of at most this; 1.5, the default where `k` is not
                given either, takes in the eight around.
            k: this many nearest tokens.
            by: the distance that decides: on the map, or between code vectors (needs `k`).
            level: whose token it is; not needed where the model has one.
            deadline_s: seconds for all of it.
        """
        deadline = deadline_after(deadline_s)
        steps = self._core.neighbors(token, radius=radius, k=k, by=by, level=level, deadline=deadline)
        return self._run(steps)

    def soft_targets(
        self,
        tokens: IntegerTokens | None = None,
        *,
        sigma: float,
        level: str | None = None,
        deadline_s: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Weights float32 [..., K] of all codes for `tokens` [...], or for all K tokens; rows sum to 1.

        They fall with the distance d on the map as exp(-d^2 / (2 sigma^2)). The tokens are of one level,
        which `level` names where there are several.
        """
        deadline = deadline_after(deadline_s)
        return self._run(self._core.soft_targets(tokens, sigma=sigma, level=level, deadline=deadline))

    def perturb(
        self,
        tokens: IntegerGrids,
        *,
        offset: Sequence[SupportsIndex],
        edge: Edge = "clamp",
        level: str | None = None,
        deadline_s: float | None = None,
    ) -> Grids:
        """`tokens` [h, w] or [B, h, w], moved over the map by `offset`, (dx, dy) or (dx,): int32.

        At the edge of the map "clamp" stops and "reflect" turns round. The tokens are of one level, which
        `level` names where there are several; or of every level by its name, and then `level` alone moves,
        or without it each on its own map.
        """
        deadline = deadline_after(deadline_s)
        model = self._run(self._core.model(deadline=deadline))
        grids = grids_to_move(tokens, model=model, level=level)

        def steps(batch: Batch) -> Steps[list[LevelGrids]]:
            levels = list(grids.by_level)
            return self._core.perturb(
                batch, levels=levels, offset=offset, edge=edge, level=level, deadline=deadline
            )

        batches = slices(grids, kind=GridBatch, limits=self._core.limits)
        parts = list(self._stream(batches, steps, deadline))
        return as_given(joined_grids(parts, item_shapes=grids.item_shapes), tokens=tokens)

    def interpolate(
        self,
        start: IntegerGrids,
        end: IntegerGrids,
        *,
        num_steps: SupportsIndex,
        level: str | None = None,
        deadline_s: float | None = None,
    ) -> Grids:
        """A straight path over the map from `start` [h, w] to `end`, both included: int32 [S, h, w].

        Both as in `perturb`; of every level, those but `level` stay as in `start`.
        """
        deadline = deadline_after(deadline_s)
        return self._run(
            self._core.interpolate(start, end, num_steps=num_steps, level=level, deadline=deadline)
        )

    def models(self, *, deadline_s: float | None = None) -> list[Model]:
        """The models that are served."""
        return self._run(self._core.models(deadline=deadline_after(deadline_s)))

    @property
    def codebook(self) -> Codebook:
        """Of the only level, code vectors float32 [K, D] and their places on the map; fetched once."""
        return self._codebook()

    @property
    def level(self) -> Level:
        """Of the only level, the latent grid, the map's shape and the codebook's size; asked once."""
        return self._model.level

    @property
    def levels(self) -> Mapping[str, ServedLevel]:
        """By name, every level with its codebook."""
        return {
            level.name: ServedLevel(level, fetch=partial(self._codebook, level.name))
            for level in self._model.levels
        }

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (H, W, 3) of the images that the model takes and makes; asked once."""
        return self._model.image_shape

    @property
    def identity(self) -> dict[str, str]:
        """Which model speaks: its name and the hash of its codebook; asked once.

        With several levels it is a hash of their hashes.
        """
        return {"model": self._model.name, "codebook_hash": self._model.codebook_hash}

    @property
    def _model(self) -> Model:
        return self._run(self._core.model(deadline=deadline_after(None)))

    def _codebook(self, level: str | None = None) -> Codebook:
        return self._run(self._core.codebook(level=level, deadline=deadline_after(None)))

    def _encoded(
        self, images: ManyImages, *, resize: Resize, progress: bool, deadline_s: float | None
    ) -> Iterator[LevelGrids]:
        deadline = deadline_after(deadline_s)

        def steps(batch: Batch) -> Steps[list[LevelGrids]]:
            return self._core.encode(batch, resize=resize, deadline=deadline)

        stream = self._stream(batches_of(images, limits=self._core.limits), steps, deadline)
        with progress_bar(show=progress, total=count_of(images)) as advance, closing(stream):
            for part in stream:
                advance(len(part))
                yield part
