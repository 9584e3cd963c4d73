"""The tokenizer as an object: a bundle that encodes, decodes and knows its map. NumPy in, NumPy out.

B batch, H W pixels, h w latent grid, K codebook_size, D code_dim.
"""

import os
from typing import Literal, Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from kohonen_tokenizer.pixels import Pixels

from ..errors import PixelsError, TokenRangeError, TokensError
from .backend import Backend, Tokens
from .bundle import Bundle, load_bundle
from .onnx_backend import Device, OnnxBackend
from .topology import Neighbor, Topology

# Images the backend sees at once: beyond this a batch gains no speed and its activations only cost memory.
MAX_BATCH = 64


class Tokenizer:
    """Images to grids of map-ordered tokens and back. Safe to use from several threads.

    Attributes:
        manifest: the bundle's manifest.
        level: its one level of tokens: latent grid, map shape, codebook size.
        codebook: code vectors [K, D] and map coordinates.
        topology: the map, for questions about neighbors.
    """

    def __init__(self, bundle: Bundle, *, backend: Backend) -> None:
        """Take a verified `bundle` and the `backend` that runs its graphs; `load` makes both from a path."""
        self.manifest = bundle.manifest
        self.level = bundle.level
        self.codebook = bundle.codebook
        self.topology = Topology(bundle.codebook.coordinates, vectors=bundle.codebook.vectors)
        self._backend = backend

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, device: Device = "cpu", num_threads: int | None = None
    ) -> Self:
        """Load the bundle at `path`, a folder or a .zip, and verify every file in it.

        Args:
            path: the bundle.
            device: "cpu" or "cuda"; no other device takes its place if it does not work.
            num_threads: threads of one operator on the CPU; by default as many as this process may use.

        Raises:
            BundleError: the bundle is not there, is not what its manifest says, or does not run.
            DeviceError: the device is unknown or does not work here.
        """
        bundle = load_bundle(path)
        return cls(bundle, backend=OnnxBackend.load(bundle, device=device, num_threads=num_threads))

    @property
    def identity(self) -> dict[str, str]:
        """Which model speaks: its name and the hash of its codebook go with the tokens wherever they go."""
        return {"model": self.manifest.name, "codebook_hash": self.codebook.sha256}

    def encode(self, images: Pixels) -> Tokens:
        """Tokens of `images` uint8 [B, H, W, 3] of the model's size: int32 [B, h, w], each 0 to K - 1.

        Raises:
            PixelsError: another dtype or shape.
        """
        image = self.manifest.image
        size = (image.height, image.width, image.channels)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != size:
            raise PixelsError(
                f"images are {_describe(images)}; this model takes uint8 [B, {size[0]}, {size[1]}, {size[2]}]"
            )
        tokens = np.empty((len(images), *self.level.latent_grid), dtype=np.int32)
        for chunk in _chunks(len(images)):
            tokens[chunk] = self._backend.encode(images[chunk])
        return tokens

    def decode(self, tokens: npt.NDArray[np.integer]) -> Pixels:
        """Images of `tokens` [B, h, w], of any integer dtype and each 0 to K - 1: uint8 [B, H, W, 3].

        Raises:
            TokensError: another dtype or shape.
            TokenRangeError: a token that is no code of this model.
        """
        grid = self.level.latent_grid
        if tokens.dtype.kind not in "iu" or tokens.ndim != 3 or tokens.shape[1:] != grid:
            raise TokensError(
                f"tokens are {_describe(tokens)}; this model takes integers [B, {grid[0]}, {grid[1]}]"
            )
        # Before the cast to int32, which would wrap a large number round into the range.
        outside = np.argwhere((tokens < 0) | (tokens >= self.level.codebook_size))
        if len(outside):
            place = tuple(outside[0].tolist())
            raise TokenRangeError(
                f"token {tokens[place]} at {list(place)} is outside 0 to {self.level.codebook_size - 1}; "
                "decode with the model that made the tokens"
            )
        image = self.manifest.image
        pixels = np.empty((len(tokens), image.height, image.width, image.channels), dtype=np.uint8)
        for chunk in _chunks(len(tokens)):
            pixels[chunk] = self._backend.decode(tokens[chunk].astype(np.int32))
        return pixels

    def neighbors(
        self,
        token: SupportsIndex,
        *,
        radius: float | None = None,
        k: SupportsIndex | None = None,
        by: Literal["map", "codebook"] = "map",
    ) -> list[Neighbor]:
        """The tokens near `token` on the map or in the codebook: see `Topology.neighbors`."""
        return self.topology.neighbors(token, radius=radius, k=k, by=by)

    def map_image(self) -> Pixels:
        """Every code decoded as a constant latent grid and put at its place on the map.

        This is Figure 4 of Irie et al. 2023.

        Returns:
            uint8 [rows * H, columns * W, 3]; a 1-D map is one row. That is K images in memory.
        """
        *rows, columns = self.level.map_shape
        codes = np.arange(self.level.codebook_size).reshape(-1, 1, 1)
        tiles = self.decode(np.broadcast_to(codes, (len(codes), *self.level.latent_grid)))
        height, width, channels = tiles.shape[1:]
        sheet = tiles.reshape(-1, columns, height, width, channels).swapaxes(1, 2)
        num_rows = rows[0] if rows else 1
        return sheet.reshape(num_rows * height, columns * width, channels)


def _chunks(num_images: int) -> list[slice]:
    return [slice(start, start + MAX_BATCH) for start in range(0, num_images, MAX_BATCH)]


def _describe(array: npt.NDArray[np.generic]) -> str:
    return f"{array.dtype} {list(array.shape)}"
