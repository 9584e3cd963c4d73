"""Grids of tokens of one level or of several, as requests and replies carry them.

B images, h w latent grid.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .batches import Batch, joined
from .npy import MEDIA_TYPE as NPY
from .npy import write_npy
from .records import Grids, Tokens
from .tensors import MEDIA_TYPE as SAFETENSORS
from .tensors import write_tensors
from .transport import Body


class LevelGrids:
    """Integers [B, h, w] of one level or of several, for the same B images.

    Attributes:
        by_level: the arrays, by the name of the level.
    """

    def __init__(self, by_level: Mapping[str, npt.NDArray[Any]]) -> None:
        self.by_level = dict(by_level)

    def __len__(self) -> int:
        return len(next(iter(self.by_level.values())))

    def __getitem__(self, images: slice) -> "LevelGrids":
        return LevelGrids({name: grids[images] for name, grids in self.by_level.items()})

    def of_each_image(self) -> Iterator[Grids]:
        """Image by image its grid [h, w]; of several levels one of each, by level."""
        for index in range(len(self)):
            yield plain({name: grids[index] for name, grids in self.by_level.items()})

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(grids.nbytes for grids in self.by_level.values())

    @property
    def item_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape [h, w] of each level's grids."""
        return {name: grids.shape[1:] for name, grids in self.by_level.items()}

    @property
    def by_field(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays, by what the service calls them."""
        return dict(zip(field_names(self.by_level), self.by_level.values(), strict=True))


class GridBatch(Batch):
    """`LevelGrids` of one request."""

    def body(self) -> Body:
        """Those of one level as .npy, of several as safetensors."""
        by_field = self._items.by_field
        if len(by_field) == 1:
            return Body(content=write_npy(by_field["tokens"]), content_type=NPY)
        return Body(content=write_tensors(by_field), content_type=SAFETENSORS)


def media_type_of(levels: Sequence[str]) -> str:
    """What the grids of `levels` travel as: a .npy holds one array."""
    return NPY if len(levels) == 1 else SAFETENSORS


def field_names(levels: Iterable[str]) -> list[str]:
    """What the service calls the tokens of each of `levels`."""
    names = list(levels)
    if len(names) == 1:
        return ["tokens"]
    return [name if name == "tokens" else f"tokens_{name}" for name in names]


def joined_grids(
    parts: Sequence[LevelGrids], *, item_shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tokens]:
    """`parts` in one array int32 [B, h, w] a level, each of the shape [h, w] in `item_shapes`."""
    return {
        name: joined([part.by_level[name] for part in parts], item_shape=shape, dtype=np.int32)
        for name, shape in item_shapes.items()
    }


def plain(by_level: Mapping[str, Tokens]) -> Grids:
    """The array of the only level; of several, those of each by its name."""
    return dict(by_level) if len(by_level) > 1 else next(iter(by_level.values()))
