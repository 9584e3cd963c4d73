"""What a dataset of tokens is of: the model, its codebooks and how images are brought to its size."""

import json
from typing import Self

from pydantic import BaseModel, ConfigDict, PositiveInt

from kohonen_tokenizer.service.runtime.bundle import Bundle
from kohonen_tokenizer.service.runtime.images import Resize
from kohonen_tokenizer.service.runtime.manifest import ImageSpec, MapShape, Sha256, sha256_hex, tensor_name

from .errors import MismatchError

# Raised when the pixels that a model gets of an image change: another filter, another decoder.
PREPROCESSING_VERSION = 1

# Wide, because these are a user's own files and not what strangers send to a service.
MAX_IMAGE_PIXELS = 2**28


class Record(BaseModel):
    """A frozen record of a JSON file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Preprocessing(Record):
    """How an image becomes the pixels that the model takes."""

    version: int
    size: ImageSpec
    resize: Resize
    max_pixels: PositiveInt


class TokenLevel(Record):
    """One column of tokens."""

    name: str
    latent_grid: tuple[PositiveInt, PositiveInt]
    map_shape: MapShape
    codebook_size: PositiveInt
    codebook_sha256: Sha256


class Identity(Record):
    """What must be equal for tokens to belong to one dataset. Hashes stand for what they are of."""

    model: str
    model_sha256: Sha256
    """Of the encoder's graph."""
    levels: tuple[TokenLevel, ...]
    preprocessing: Preprocessing
    preprocessing_sha256: Sha256

    @classmethod
    def of(cls, bundle: Bundle, *, resize: Resize) -> Self:
        """That of `bundle` and a way to bring images to its size."""
        manifest = bundle.manifest
        preprocessing = Preprocessing(
            version=PREPROCESSING_VERSION, size=manifest.image, resize=resize, max_pixels=MAX_IMAGE_PIXELS
        )
        return cls(
            model=manifest.name,
            model_sha256=manifest.files[bundle.graph_files.encoder].sha256,
            levels=tuple(
                TokenLevel(
                    name=tensor_name(level.name),
                    latent_grid=level.latent_grid,
                    map_shape=level.map_shape,
                    codebook_size=level.codebook_size,
                    codebook_sha256=level.codebook_sha256,
                )
                for level in manifest.levels
            ),
            preprocessing=preprocessing,
            preprocessing_sha256=_sha256_of(preprocessing),
        )

    def require_equal(self, other: "Identity", *, where: str) -> None:
        """Return if `other`, that of what is at `where`, is the same.

        Raises:
            MismatchError: naming the first difference.
        """
        for name in type(self).model_fields:
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise MismatchError(
                    f"{where} holds tokens with {name} {_shown(theirs)}, and this job's is {_shown(ours)}; "
                    "give another DEST, or the bundle and the options that it was made with"
                )


def _sha256_of(record: BaseModel) -> str:
    return sha256_hex(json.dumps(record.model_dump(mode="json"), sort_keys=True).encode())


def _shown(value: object) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)
