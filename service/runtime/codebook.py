"""The codebook of a bundle: code vectors and their places on the map, read from safetensors.

K codebook_size, D code_dim, G map dimensions (1 or 2).
"""

from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from ..errors import CodebookError
from .manifest import Level, codebook_sha256
from .map_layout import Coordinates, Vectors, map_coordinates


@dataclass(frozen=True, kw_only=True, slots=True)
class Codebook:
    """A vocabulary of K codes. The arrays are read-only."""

    vectors: Vectors
    """float32 [K, D]."""
    coordinates: Coordinates
    """int32 [K, G]: (x, y) or (x,) of each token on the map."""
    sha256: str
    """Of the vectors' little-endian float32 bytes; two models with the same hash speak the same tokens."""


def load_codebook(data: bytes, *, level: Level) -> Codebook:
    """Read the safetensors file of `level` from `data`.

    Raises:
        CodebookError: not safetensors, or tensors that are not those the manifest describes.
    """
    name = level.codebook_file
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CodebookError(f"{name} is not safetensors ({error}); export the bundle again") from None

    shapes = {
        "vectors": (np.dtype(np.float32), (level.codebook_size, level.code_dim)),
        "coordinates": (np.dtype(np.int32), (level.codebook_size, len(level.map_shape))),
    }
    if set(tensors) != set(shapes):
        raise CodebookError(
            f"{name} holds {sorted(tensors)}; it must hold coordinates and vectors; export the bundle again"
        )
    for key, (dtype, shape) in shapes.items():
        tensor = tensors[key]
        if tensor.dtype != dtype or tensor.shape != shape:
            raise CodebookError(
                f"{name}: {key} is {tensor.dtype} {list(tensor.shape)}, and the manifest asks for "
                f"{dtype} {list(shape)}; export the bundle again"
            )

    vectors, coordinates = tensors["vectors"], tensors["coordinates"]
    if not np.isfinite(vectors).all():
        raise CodebookError(f"{name}: vectors holds a number that is not finite; export the bundle again")
    if not np.array_equal(coordinates, map_coordinates(level.map_shape)):
        raise CodebookError(
            f"{name}: coordinates are not those of map_shape {list(level.map_shape)}; export the bundle again"
        )
    sha256 = codebook_sha256(vectors)
    if sha256 != level.codebook_sha256:
        raise CodebookError(
            f"{name}: vectors have sha256 {sha256}, and the manifest says {level.codebook_sha256}; "
            "restore the codebook or export the bundle again"
        )
    vectors.setflags(write=False)
    coordinates.setflags(write=False)
    return Codebook(vectors=vectors, coordinates=coordinates, sha256=sha256)
