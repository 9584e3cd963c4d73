"""The Parquet shards of `kohonen-tokenizer encode` as a dataset of PyTorch.

B images of a batch, N = h * w tokens of an image, in the order of reading: row by row.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import Dataset


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenDataset(Dataset[Tensor]):
    """The tokens of images, in memory as they are stored: two bytes each."""

    tokens: npt.NDArray[np.integer]
    """[images, N], each 0 to K - 1."""
    ids: tuple[str, ...]
    """Of each image, its name in the source: of a folder, its path there."""
    codebook_size: int
    """K."""
    latent_grid: tuple[int, int]
    """(h, w)."""

    @classmethod
    def read(cls, folder: Path) -> "TokenDataset":
        """Every image that has tokens, of the finished dataset in `folder`.

        Raises:
            FileNotFoundError: no dataset is there, or its job is not done.
        """
        manifest = json.loads((folder / "_manifest.json").read_text())
        (level,) = manifest["identity"]["levels"]
        shards = [str(folder / shard["file"]) for shard in manifest["shards"]]
        # An image that did not decode has a row, and no tokens.
        rows = pq.read_table(shards, columns=["id", level["name"]], filters=[("status", "=", "ok")])
        values = rows[level["name"]].combine_chunks().flatten().to_numpy()
        return cls(
            tokens=values.reshape(len(rows), -1),
            ids=tuple(rows["id"].to_pylist()),
            codebook_size=level["codebook_size"],
            latent_grid=tuple(level["latent_grid"]),
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> Tensor:
        """Tokens int64 [N] of an image."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> Tensor:
        """Tokens int64 [B, N] of a batch, taken at once; a DataLoader asks for this where it is there."""
        return torch.from_numpy(self.tokens[list(indices)].astype(np.int64))

    def take(self, indices: Sequence[int]) -> "TokenDataset":
        """Some of the images, in this order."""
        ids = tuple(self.ids[index] for index in indices)
        return replace(self, tokens=self.tokens[list(indices)], ids=ids)

    def split(
        self, *, num_held_out: int, num_train: int | None = None
    ) -> tuple["TokenDataset", "TokenDataset"]:
        """Images to learn from, all others or `num_train` of them, and `num_held_out` to judge by: at random.

        The same ones each time, and of any dataset of as many images.

        Raises:
            ValueError: there are too few images.
        """
        num_wanted = num_held_out + (num_train or 1)
        if num_wanted > len(self):
            raise ValueError(f"{len(self)} images are there and {num_wanted} needed; give a larger source")
        order = np.random.default_rng(0).permutation(len(self)).tolist()
        end = None if num_train is None else num_wanted
        return self.take(order[num_held_out:end]), self.take(order[:num_held_out])
