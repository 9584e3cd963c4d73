"""The tokenizer as an object: a bundle that encodes, decodes and knows its map. NumPy in, NumPy out.

B batch, H W pixels, h w latent grid, K codebook_size, D code_dim, T tokens of an image on all levels.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Literal, Self, SupportsIndex

import numpy as np

from kohonen_tokenizer.pixels import Pixels

from ..errors import BundleError, TokensError
from .array_checks import check_grids, check_pixels
from .backend import Backend, Tokens
from .backends import load_backend
from .bundle import Bundle, load_bundle
from .codebook import Codebook
from .devices import DeviceChoice
from .level_moves import interpolate_levels, perturb_levels
from .levels import Levels
from .manifest import GraphFormat, Level
from .map_edges import Edge
from .soft_targets import DenseTargets
from .tensors import tokens_group
from .topology import IntegerTokens, Neighbor, Topology

# Images the backend sees at once: beyond this a batch gains no speed and its activations only cost memory.
MAX_BATCH = 64


class Tokenizer:
    """Images to grids of map-ordered tokens and back. Safe to use from several threads.

    Attributes:
        manifest: the bundle's manifest.
        levels: by name, its levels of tokens, each with a codebook and a map; most models have one.
        backend: runs the graphs, on input that `check_images` and `check_tokens` have passed.
    """

    def __init__(self, bundle: Bundle, *, backend: Backend) -> None:
        """Take a verified `bundle` and the `backend` that runs its graphs; `load` makes both from a path."""
        self.manifest = bundle.manifest
        self.levels = Levels(bundle)
        self.backend = backend
        self._tokens = tokens_group(bundle.manifest.levels)

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
        """Which model speaks: its name and the hash of its codebook go with the tokens wherever they go.

        With several levels it is a hash of their hashes.
        """
        return {"model": self.manifest.name, "codebook_hash": self.levels.sha256}

    @property
    def level(self) -> Level:
        """The only level: latent grid, map shape, codebook size.

        Raises:
            ParameterError: there are several; `codebook` and `topology` raise it too.
        """
        return self.levels.choose().level

    @property
    def codebook(self) -> Codebook:
        """The only codebook: code vectors [K, D] and map coordinates."""
        return self.levels.choose().codebook

    @property
    def topology(self) -> Topology:
        """The only map, for questions about neighbors."""
        return self.levels.choose().topology

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (H, W, 3) of the images it takes and makes."""
        image = self.manifest.image
        return image.height, image.width, image.channels

    @property
    def token_shape(self) -> tuple[int, ...]:
        """The shape of what `encode_rows` gives of an image: (h, w), or (T,) for several levels."""
        return self._tokens.shape

    def encode(self, images: Pixels) -> Tokens | dict[str, Tokens]:
        """Tokens of `images` uint8 [B, H, W, 3] of the model's size: int32 [B, h, w], each 0 to K - 1.

        With several levels, those of each by its name.

        Raises:
            PixelsError: no array, or of another dtype or shape.
        """
        rows = self.encode_rows(images)
        return rows if len(self.levels) == 1 else self.split_rows(rows)

    def decode(self, tokens: IntegerTokens | Mapping[str, IntegerTokens]) -> Pixels:
        """Images of `tokens` [B, h, w], of any integer dtype and each 0 to K - 1: uint8 [B, H, W, 3].

        With several levels, tokens of each by its name, as `encode` gives them.

        Raises:
            TokensError: no array, or of another dtype or shape; not one for each level.
            TokenRangeError: a token that is no code of this model.
        """
        return self.decode_rows(self.check_tokens(tokens))

    def encode_rows(self, images: Pixels) -> Tokens:
        """Tokens of `images` as one array: int32 [B, h, w], or [B, T] for several levels, see `tensors`.

        Raises:
            PixelsError: as `encode`.
        """
        self.check_images(images)
        rows = self._tokens.zeros(len(images))
        for chunk in _chunks(len(images)):
            rows[chunk] = self.backend.encode(images[chunk])
        return rows

    def split_rows(self, rows: Tokens) -> dict[str, Tokens]:
        """The tokens [B, h, w] of each level, by its name, that are in what `encode_rows` gave."""
        return dict(zip(self.levels, self._tokens.unpack(rows), strict=True))

    def decode_rows(self, rows: Tokens) -> Pixels:
        """Images of what `check_tokens` or `encode_rows` gave."""
        pixels = np.empty((len(rows), *self.image_shape), dtype=np.uint8)
        for chunk in _chunks(len(rows)):
            pixels[chunk] = self.backend.decode(rows[chunk])
        return pixels

    def check_images(self, images: Pixels) -> Pixels:
        """`images`, if the encoder takes them.

        Raises:
            PixelsError: not uint8 [B, H, W, 3] of the model's size.
        """
        return check_pixels(images, shape=self.image_shape)

    def check_tokens(self, tokens: IntegerTokens | Mapping[str, IntegerTokens]) -> Tokens:
        """`tokens` as the decoder takes them: int32 [B, h, w], or [B, T] for several levels, see `tensors`.

        Raises:
            TokensError: not integers [B, h, w] of the model's latent grid, or not those of each level.
            TokenRangeError: a token that is no code of this model.
        """
        if len(self.levels) == 1 and not isinstance(tokens, Mapping):
            return check_grids(tokens, level=self.level)
        named = self.levels.all_of(tokens)
        grids = [check_grids(named[name], level=self.levels[name].level) for name in self.levels]
        if len(set(map(len, grids))) > 1:
            counts = ", ".join(f"{name} {len(grid)}" for name, grid in zip(self.levels, grids, strict=True))
            raise TokensError(
                f"the levels have grids of different numbers of images ({counts}); give as many"
            )
        return self._tokens.pack(grids)

    def neighbors(
        self,
        token: SupportsIndex,
        *,
        radius: float | None = None,
        k: SupportsIndex | None = None,
        by: Literal["map", "codebook"] = "map",
        level: str | None = None,
    ) -> list[Neighbor]:
        """The tokens near `token` on the map or in the codebook: see `Topology.neighbors`.

        Raises:
            ParameterError: `level` names none, or is not given and there are several.
        """
        return self.levels.choose(level).topology.neighbors(token, radius=radius, k=k, by=by)

    def soft_targets(
        self, tokens: IntegerTokens | None = None, *, sigma: float, level: str | None = None
    ) -> DenseTargets:
        """Weights float32 [..., K] of all codes for `tokens` [...], or all: see `Topology.soft_targets`."""
        return self.levels.choose(level).topology.soft_targets(tokens, sigma=sigma)

    def perturb(
        self,
        tokens: IntegerTokens | Mapping[str, IntegerTokens],
        *,
        offset: Sequence[SupportsIndex],
        edge: Edge = "clamp",
        level: str | None = None,
    ) -> Tokens | dict[str, Tokens]:
        """`tokens` moved over the map by `offset`: see `map_moves.perturb`.

        Those of one level [...], which `level` names; or of every level by its name, as `encode` gives them:
        then `level` alone moves, or without it each on its own map.
        """
        if isinstance(tokens, Mapping):
            return perturb_levels(tokens, levels=self.levels, offset=offset, edge=edge, level=level)
        return self.levels.choose(level).topology.perturb(tokens, offset=offset, edge=edge)

    def interpolate(
        self,
        start: IntegerTokens | Mapping[str, IntegerTokens],
        end: IntegerTokens | Mapping[str, IntegerTokens],
        *,
        num_steps: SupportsIndex,
        level: str | None = None,
    ) -> Tokens | dict[str, Tokens]:
        """A path over the map from `start` to `end`, [num_steps, ...]: see `map_moves.interpolate`.

        Both as in `perturb`; of every level, those but `level` stay as in `start`.
        """
        if isinstance(start, Mapping) or isinstance(end, Mapping):
            return interpolate_levels(start, end, levels=self.levels, num_steps=num_steps, level=level)
        return self.levels.choose(level).topology.interpolate(start, end, num_steps=num_steps)

    def map_image(
        self,
        *,
        level: str | None = None,
        others: Mapping[str, int] | None = None,
        max_tile: int | None = None,
    ) -> Pixels:
        """Every code decoded as a constant latent grid and put at its place on the map.

        This is Figure 4 of Irie et al. 2023, and Figure 7 for several levels.

        Args:
            level: whose map; not needed where there is one.
            others: by name, the token of every place of the other levels; by default the one in the middle
                of its map.
            max_tile: of larger images only the middle square of so many pixels a side is put there; by
                default all of them.

        Returns:
            uint8 [rows * H, columns * W, 3], or less by `max_tile`; a 1-D map is one row.

        Raises:
            ParameterError: `level` names none, or is not given and there are several.
        """
        chosen = self.levels.choose(level).level
        codes = np.arange(chosen.codebook_size)
        grids = {}
        for name, one in self.levels.items():
            grid = one.level.latent_grid
            token = (others or {}).get(name, one.middle)
            constant = codes if name == chosen.name else np.full_like(codes, token)
            grids[name] = np.broadcast_to(constant.reshape(-1, 1, 1), (len(codes), *grid))
        middle = _middle_square(self.image_shape, max_side=max_tile)
        # Some at a time: K whole images of 256 pixels are 100 MB.
        tiles = np.concatenate(
            [
                self.decode({name: grid[chunk] for name, grid in grids.items()})[middle]
                for chunk in _chunks(len(codes))
            ]
        )
        *rows, columns = chosen.map_shape
        height, width, channels = tiles.shape[1:]
        sheet = tiles.reshape(-1, columns, height, width, channels).swapaxes(1, 2)
        num_rows = rows[0] if rows else 1
        return sheet.reshape(num_rows * height, columns * width, channels)


def _middle_square(shape: tuple[int, int, int], *, max_side: int | None) -> tuple[slice, ...]:
    """What to keep of images [B, *shape], so that no side is longer than `max_side`."""
    sides = [side if max_side is None else min(side, max_side) for side in shape[:2]]
    starts = [(whole - side) // 2 for whole, side in zip(shape, sides, strict=False)]
    return (slice(None), *(slice(start, start + side) for start, side in zip(starts, sides, strict=True)))


def _chunks(num_images: int) -> list[slice]:
    return [slice(start, start + MAX_BATCH) for start in range(0, num_images, MAX_BATCH)]
