"""The schema of a bundle's manifest.json, and the hashes that it holds.

The service owns this schema because it is the one that must trust it; export writes what is defined here.
"""

import hashlib
import math
import re
from typing import Annotated, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from ..errors import ManifestError
from .map_layout import MapTopology

SCHEMA_VERSION: Final = 1
MANIFEST_FILE = "manifest.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# A plain name: no folder, no drive, nothing hidden. It cannot leave the bundle.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
_LEVEL_NAME = r"[a-z][a-z0-9_]{0,31}"
# One dimension (K,) or two (rows, columns).
MapShape = tuple[PositiveInt] | tuple[PositiveInt, PositiveInt]


def sha256_hex(data: bytes) -> str:
    """SHA-256 of `data` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def codebook_sha256(vectors: npt.NDArray[np.float32]) -> str:
    """SHA-256 of the code vectors [K, D] as little-endian float32 bytes in C order."""
    return sha256_hex(np.ascontiguousarray(vectors, dtype="<f4").tobytes())


def tensor_name(level: str) -> str:
    """Name of a graph's tensor with the tokens of `level`, and of the field that holds them elsewhere."""
    return level if level == "tokens" else f"tokens_{level}"


def level_name(tensor: str) -> str | None:
    """The level whose tokens are in what `tensor_name` calls `tensor`; None for any other name."""
    level = tensor if tensor == "tokens" else tensor.removeprefix("tokens_")
    return level if tensor_name(level) == tensor and re.fullmatch(_LEVEL_NAME, level) else None


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ImageSpec(_Record):
    """The one size of image that the graphs take, in pixels."""

    height: PositiveInt
    width: PositiveInt
    channels: Literal[3] = 3


class Level(_Record):
    """One grid of tokens of an image and the codebook behind it."""

    name: Annotated[str, Field(pattern=f"^{_LEVEL_NAME}$")]
    """"tokens" where it is the only one; see `tensor_name`."""
    latent_grid: tuple[PositiveInt, PositiveInt]
    """(h, w): tokens an image has, top to bottom and left to right."""
    map_shape: MapShape
    """(rows, columns) of the Kohonen map, or (K,) for a line of codes."""
    map_topology: MapTopology = "rectangular"
    """What is near what on the map; bundles from before there was a choice do not say it."""
    codebook_size: PositiveInt
    """K: tokens are 0 to K - 1."""
    code_dim: PositiveInt
    """D: length of a code vector."""
    codebook_file: FileName
    codebook_sha256: Sha256
    """What `codebook_sha256` gives for the vectors in `codebook_file`."""

    @model_validator(mode="after")
    def _check_map(self) -> Self:
        num_places = math.prod(self.map_shape)
        if num_places != self.codebook_size:
            raise ValueError(
                f"map_shape {list(self.map_shape)} has {num_places} places "
                f"for codebook_size {self.codebook_size}"
            )
        if self.map_topology == "hexagonal" and len(self.map_shape) != 2:
            raise ValueError(f"map_shape {list(self.map_shape)} is a line; a hexagonal map has two sides")
        return self


class FileRecord(_Record):
    """What a file of the bundle must be, to the bit."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class GraphFiles(_Record):
    """The two graphs of one format, by file name."""

    encoder: FileName
    decoder: FileName


GraphFormat = Literal["onnx", "torchscript", "torch_export"]
"""A format of graphs, by its name among the `Graphs`."""


class Graphs(_Record):
    """The same model in each format that the bundle carries; the service runs `onnx` unless told another."""

    onnx: GraphFiles
    torchscript: GraphFiles | None = None
    torch_export: GraphFiles | None = None

    def file_names(self) -> list[str]:
        """Every graph file that is named here."""
        pairs = [pair for pair in (self.onnx, self.torchscript, self.torch_export) if pair is not None]
        return [name for pair in pairs for name in (pair.encoder, pair.decoder)]


class CheckpointRecord(_Record):
    """The checkpoint that the graphs were made from."""

    sha256: Sha256
    """Of the checkpoint's model.safetensors."""
    step: Annotated[int, Field(ge=0)]
    """Optimizer steps taken."""


class TrainingData(_Record):
    """The images that the model has seen."""

    name: str
    num_images: PositiveInt
    license: str


class Manifest(_Record):
    """A bundle's manifest.json: what the model is, what each file must be, and where both came from."""

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    description: str
    license: str
    created: AwareDatetime
    versions: dict[str, str]
    """Version of each package that had a hand in the export."""
    image: ImageSpec
    levels: Annotated[tuple[Level, ...], Field(min_length=1)]
    files: dict[FileName, FileRecord]
    """Every file of the bundle but manifest.json."""
    graphs: Graphs
    checkpoint: CheckpointRecord
    architecture: dict[str, JsonValue]
    """The model's config."""
    training: dict[str, JsonValue]
    """The run's config."""
    training_data: TrainingData
    metrics: dict[str, JsonValue]
    """What `evaluate` measured."""
    parity: dict[str, JsonValue]
    """How far export found each graph from the checkpoint."""

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        names = [level.name for level in self.levels]
        if len(set(names)) < len(names):
            raise ValueError(f"levels has two of the same name: {', '.join(names)}")
        if MANIFEST_FILE in self.files:
            raise ValueError(f"files lists {MANIFEST_FILE}, which cannot hold its own hash")
        named = self.graphs.file_names() + [level.codebook_file for level in self.levels]
        missing = sorted(set(named) - set(self.files))
        if missing:
            raise ValueError(f"files has no entry for {', '.join(missing)}")
        return self

    def to_json(self) -> bytes:
        """The content of manifest.json: UTF-8, indented, ending in a line break."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read the content of a manifest.json.

        Raises:
            ManifestError: not JSON, of another schema version, or a field that does not fit.
        """
        try:
            content = from_json(data, allow_inf_nan=False)
        except ValueError as error:
            raise ManifestError(f"{MANIFEST_FILE} is not JSON ({error}); export the bundle again") from None
        if not isinstance(content, dict):
            raise ManifestError(f"{MANIFEST_FILE} holds no JSON object; export the bundle again")
        # Asked first: a manifest of another version may differ in every other field.
        version = content.get("schema_version")
        if type(version) is not int or version != SCHEMA_VERSION:
            raise ManifestError(
                f"{MANIFEST_FILE} has schema_version {version!r}, and this version reads {SCHEMA_VERSION}; "
                "export the bundle again, or use the kohonen-tokenizer that wrote it"
            )
        try:
            return cls.model_validate_json(data, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "content"
            raise ManifestError(
                f"{MANIFEST_FILE}: {where}: {first['msg']}; export the bundle again"
            ) from None
