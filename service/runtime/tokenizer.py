"""The tokenizer as an object: a bundle that encodes, decodes and knows its map. NumPy in, NumPy out.

B batch, H W pixels, h w latent grid, K codebook_size, D code_dim.
"""

import os
from collections.abc import Sequence
from typing import Literal, Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from kohonen_tokenizer.pixels import Pixels

from ..errors import BundleError, PixelsError, TokenRangeError, TokensError
from .backend import Backend, Tokens
from .backends import load_backend
from .bundle import Bundle, load_bundle
from .devices import DeviceChoice
from .manifest import GraphFormat
from .map_edges import Edge
from .soft_targets import DenseTargets
from .topology import IntegerTokens, Neighbor, Topology

# Images the backend sees at once: beyond this a batch gains no speed and its activations only cost memory.
MAX_BATCH = 64


class Tokenizer:
    """Images to grids of map-ordered tokens and back. Safe to use from several threads.

    Attributes:
        manifest: the bundle's manifest.
        level: its one level of tokens: latent grid, map shape, codebook size.
        codebook: code vectors [K, D] and map coordinates.
        topology: the map, for questions about neighbors.
        backend: runs the graphs, on input that `check_images` and `check_tokens` have passed.
    """

    def __init__(self, bundle: Bundle, *, backend: Backend) -> None:
        """Take a verified `bundle` and the `backend` that runs its graphs; `load` makes both from a path."""
        self.manifest = bundle.manifest
        self.level = bundle.level
        self.codebook = bundle.codebook
        self.topology = Topology(
            bundle.codebook.coordinates,
            vectors=bundle.codebook.vectors,
            map_topology=bundle.level.map_topology,
        )
        self.backend = backend

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: DeviceChoice = "cpu",
        num_threads: int | None = None,
        backend: GraphFormat = "onnx",
    ) -> Self:
        """Load the bundle at `path`, a folder or a .zip, and verify every file in it.

        Args:
            path: the bundle.
            device: "cpu", "cuda" or "tensorrt": no other device takes its place if it does not work. "auto"
                is cuda where it works and the CPU elsewhere.
            num_threads: threads of one operator on the CPU; by default as many as this process may use.
            backend: which of the bundle's graphs run: "onnx", or "torchscript" or "torch_export", for which
                torch must be installed and the bundle be trusted, as they can hold code.

        Raises:
            BundleError: the bundle is not there, is not what its manifest says, or does not run; it begins
                with `path`.
            DeviceError: the device is unknown or does not work here, or torch is not installed.
        """
        try:
            bundle = load_bundle(path, graph_format=backend)
            return cls(bundle, backend=load_backend(bundle, device=device, num_threads=num_threads))
        except BundleError as error:
            raise type(error)(f"{os.fspath(path)}: {error}") from None

    @property
    def identity(self) -> dict[str, str]:
        """Which model speaks: its name and the hash of its codebook go with the tokens wherever they go."""
        return {"model": self.manifest.name, "codebook_hash": self.codebook.sha256}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (H, W, 3) of the images it takes and makes."""
        image = self.manifest.image
        return image.height, image.width, image.channels

    def encode(self, images: Pixels) -> Tokens:
        """Tokens of `images` uint8 [B, H, W, 3] of the model's size: int32 [B, h, w], each 0 to K - 1.

        Raises:
            PixelsError: no array, or of another dtype or shape.
        """
        self.check_images(images)
        tokens = np.empty((len(images), *self.level.latent_grid), dtype=np.int32)
        for chunk in _chunks(len(images)):
            tokens[chunk] = self.backend.encode(images[chunk])
        return tokens

    def decode(self, tokens: npt.NDArray[np.integer]) -> Pixels:
        """Images of `tokens` [B, h, w], of any integer dtype and each 0 to K - 1: uint8 [B, H, W, 3].

        Raises:
            TokensError: no array, or of another dtype or shape.
            TokenRangeError: a token that is no code of this model.
        """
        tokens = self.check_tokens(tokens)
        pixels = np.empty((len(tokens), *self.image_shape), dtype=np.uint8)
        for chunk in _chunks(len(tokens)):
            pixels[chunk] = self.backend.decode(tokens[chunk])
        return pixels

    def check_images(self, images: Pixels) -> Pixels:
        """`images`, if the encoder takes them.

        Raises:
            PixelsError: not uint8 [B, H, W, 3] of the model's size.
        """
        size = self.image_shape
        if not _is_array(images) or images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != size:
            raise PixelsError(
                f"images are {_describe(images)}; this model takes uint8 [B, {size[0]}, {size[1]}, {size[2]}]"
            )
        return images

    def check_tokens(self, tokens: npt.NDArray[np.integer]) -> Tokens:
        """`tokens` as the decoder takes them, int32 [B, h, w].

        Raises:
            TokensError: not integers [B, h, w] of the model's latent grid.
            TokenRangeError: a token that is no code of this model.
        """
        grid = self.level.latent_grid
        if (
            not _is_array(tokens)
            or tokens.dtype.kind not in "iu"
            or tokens.ndim != 3
            or tokens.shape[1:] != grid
        ):
            raise TokensError(
                f"tokens are {_describe(tokens)}; this model takes integers [B, {grid[0]}, {grid[1]}]"
            )
        # Before the cast to int32, which would wrap a large number round into the range.
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < self.level.codebook_size:
            outside = (tokens < 0) | (tokens >= self.level.codebook_size)
            place = tuple(np.argwhere(outside)[0].tolist())
            raise TokenRangeError(
                f"token {tokens[place]} at {list(place)} is outside 0 to {self.level.codebook_size - 1}; "
                "decode with the model that made the tokens",
                index=place[0],
            )
        return tokens.astype(np.int32)

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

    def soft_targets(self, tokens: IntegerTokens | None = None, *, sigma: float) -> DenseTargets:
        """Weights float32 [..., K] of all codes for `tokens` [...], or all: see `Topology.soft_targets`."""
        return self.topology.soft_targets(tokens, sigma=sigma)

    def perturb(
        self, tokens: IntegerTokens, *, offset: Sequence[SupportsIndex], edge: Edge = "clamp"
    ) -> Tokens:
        """`tokens` moved over the map by `offset`: see `map_moves.perturb`."""
        return self.topology.perturb(tokens, offset=offset, edge=edge)

    def interpolate(self, start: IntegerTokens, end: IntegerTokens, *, num_steps: SupportsIndex) -> Tokens:
        """A path over the map from `start` to `end`, [num_steps, ...]: see `map_moves.interpolate`."""
        return self.topology.interpolate(start, end, num_steps=num_steps)

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


def _is_array(value: object) -> bool:
    # Of any object, for callers without a type checker.
    return isinstance(value, np.ndarray)


def _describe(value: object) -> str:
    if not isinstance(value, np.ndarray):
        return f"of type {type(value).__name__} and no numpy array"
    return f"{value.dtype} {list(value.shape)}"
