"""Replies of the service to values; for any other reply they raise ValueError, KeyError or TypeError.

B images, H W pixels, h w latent grid, K codebook_size, D code_dim, S steps; ... is the shape of the tokens.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import NotFoundError, UnavailableError
from .grids import LevelGrids, field_names
from .npy import read_npy
from .records import Codebook, Level, Model, Neighbor, Pixels
from .tensors import read_tensors
from .transport import Reply


def read_grids(reply: Reply, *, levels: Sequence[str]) -> LevelGrids:
    """Tokens int32 [B, h, w] of one level in a .npy, of several in safetensors, there of int32 or uint16."""
    fields = field_names(levels)
    tensors = {fields[0]: read_npy(reply.content)} if len(fields) == 1 else read_tensors(reply.content)
    if tensors.keys() != set(fields):
        raise ValueError(f"it holds {', '.join(tensors)}")
    arrays = [_checked(tensors[field], kinds="iu", num_dimensions=3) for field in fields]
    if len(set(map(len, arrays))) > 1:
        raise ValueError(f"it holds grids of {', '.join(str(len(array)) for array in arrays)} images")
    grids = (array.astype(np.int32, copy=not array.flags.writeable) for array in arrays)
    return LevelGrids(dict(zip(levels, grids, strict=True)))


def read_pixels(reply: Reply) -> Pixels:
    """Images uint8 [B, H, W, 3] of a .npy."""
    return _checked(read_npy(reply.content), kinds="u", num_dimensions=4)


def read_weights(reply: Reply) -> npt.NDArray[np.float32]:
    """Weights float32 [..., K] of a .npy."""
    return _checked(read_npy(reply.content), kinds="f")


def read_neighbors(reply: Reply) -> list[Neighbor]:
    """The neighbors of one token, nearest first."""
    return [
        Neighbor(
            token=entry["token"],
            coordinates=tuple(entry["coordinates"]),
            grid_distance=entry["grid_distance"],
            codebook_distance=entry["codebook_distance"],
        )
        for entry in json.loads(reply.content)["neighbors"]
    ]


def read_models(reply: Reply) -> list[Model]:
    """The models that are served."""
    return [_model(card) for card in json.loads(reply.content)["models"]]


def read_model(reply: Reply, *, name: str | None) -> Model:
    """The model `name`, or the only one.

    Raises:
        UnavailableError: it is not there yet.
        NotFoundError: there is none of this name, or there are several and no name.
    """
    models = read_models(reply)
    missing = json.loads(reply.content)["missing"]
    if name in missing or not models:
        raise UnavailableError(f"model {name or ''} is not ready", code="not_ready", status=reply.status)
    if name is None and len(models) == 1 and not missing:
        return models[0]
    for model in models:
        if model.name == name:
            return model
    served = ", ".join(sorted(model.name for model in models))
    asked = "several models are served" if name is None else f"there is no model {name!r}"
    raise NotFoundError(f"{asked}; give model= one of {served}", code="model_not_found", status=reply.status)


def read_codebook(reply: Reply, *, level: Level) -> Codebook:
    """The codebook of `level`: its vectors of a .npy float32 [K, D], and the places on its map.

    The tokens of any map are counted along its rows: token k lies at x = k % columns, y = k // columns.
    """
    vectors = _checked(read_npy(reply.content), kinds="f", num_dimensions=2)
    sha256 = hashlib.sha256(vectors.astype("<f4", copy=False).tobytes()).hexdigest()
    if sha256 != level.codebook_hash:
        raise ValueError(f"the code vectors have SHA-256 {sha256}, not {level.codebook_hash}")
    places = np.indices(level.map_shape, dtype=np.int32).reshape(len(level.map_shape), -1)
    return Codebook(vectors=vectors, coordinates=np.ascontiguousarray(places[::-1].T), sha256=sha256)


def _model(card: Any) -> Model:
    image = card["image"]
    return Model(
        name=card["name"],
        version=card["version"],
        description=card["description"],
        license=card["license"],
        image_shape=(image["height"], image["width"], image["channels"]),
        levels=tuple(map(_level, card["levels"])),
    )


def _level(card: Any) -> Level:
    height, width = card["latent_grid"]
    return Level(
        name=card["name"],
        latent_grid=(height, width),
        map_shape=tuple(card["map_shape"]),
        map_topology=card["map_topology"],
        codebook_size=card["codebook_size"],
        code_dim=card["code_dim"],
        codebook_hash=card["codebook_hash"],
    )


def _checked(array: npt.NDArray[Any], *, kinds: str, num_dimensions: int | None = None) -> npt.NDArray[Any]:
    if array.dtype.kind not in kinds or array.ndim != (num_dimensions or array.ndim):
        raise ValueError(f"it holds {array.dtype} {list(array.shape)}")
    return array
