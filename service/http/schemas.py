"""The shapes of our JSON replies, for the documentation; request_schemas.py has those of the bodies."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from ..runtime.manifest import CheckpointRecord, ImageSpec, TrainingData
from ..runtime.map_layout import MapTopology
from ..runtime.topology import Neighbor


class Record(BaseModel):
    """An object with these keys and no others."""

    model_config = ConfigDict(extra="forbid")


class _Card(BaseModel):
    """What a reply shows of a record of the manifest."""

    model_config = ConfigDict(from_attributes=True)


_MapTopology = Annotated[
    MapTopology,
    Field(
        description="What is near what on the map: `rectangular` squares, `toroidal` ones that go on at the "
        "other side of the edge, or `hexagonal` cells, with the odd rows half a step to the right."
    ),
]


def drop_default(schema: dict[str, Any]) -> None:
    """Make the schema that of a key that may be missing, but not be sent empty."""
    del schema["default"]


_FIELD_OF_LEVEL = "^tokens_[a-z][a-z0-9_]{0,31}$"


def fields_of_levels(grids: Any) -> Callable[[dict[str, Any]], None]:
    """Gives a JSON schema the keys `tokens_LEVEL`, one or more, with `grids` in each."""
    fields = {_FIELD_OF_LEVEL: TypeAdapter(grids).json_schema()}

    def add(schema: dict[str, Any]) -> None:
        schema |= {
            "patternProperties": fields,
            "not": {"propertyNames": {"not": {"pattern": _FIELD_OF_LEVEL}}},
        }

    return add


class _ModelReply(Record):
    model: str = Field(description="Name of the model that answered.")
    codebook_hash: str = Field(
        description="SHA-256 of its code vectors: equal hashes, equal tokens. Of several levels, SHA-256 of "
        "a line for each with its name, a space and its hash."
    )


class _LevelReply(_ModelReply):
    level: str = Field(
        default="",
        description="The level that this is about, where the model has several.",
        json_schema_extra=drop_default,
    )


class Encoded(_ModelReply):
    """Tokens of images."""

    tokens: list[list[list[int]]] = Field(description="[B][h][w]: one grid an image, in the order sent.")


class EncodedLevels(_ModelReply):
    """Tokens of images on several levels: for each `tokens_LEVEL` [B][h][w]."""

    model_config = ConfigDict(json_schema_extra=fields_of_levels(list[list[list[int]]]))


class Decoded(_ModelReply):
    """Images of tokens."""

    images: list[str] = Field(description="PNG files as base64, in the order of the token grids.")


class Neighborhood(Record):
    """A token and what is near it."""

    token: int
    coordinates: list[int] = Field(description="(x, y) on the map, or (x) on a 1-D map.")
    neighbors: list[Neighbor] = Field(
        description="Nearest first, never the token itself; `grid_distance` is Euclidean on the map, "
        "`codebook_distance` Euclidean between the code vectors."
    )


class NeighborsOfToken(_LevelReply, Neighborhood):
    """The answer to `token`."""


class NeighborsOfTokens(_LevelReply):
    """The answer to `tokens`."""

    results: list[Neighborhood] = Field(description="In the order of the tokens asked for.")


class NeighborTableContent(_LevelReply):
    """The neighbors of every token, nearest first."""

    tokens: list[list[int]] = Field(description="[K][M]; -1 is padding.")
    grid_distance: list[list[float | None]] = Field(
        description="[K][M]: Euclidean on the map; null is padding."
    )
    codebook_distance: list[list[float | None]] = Field(
        description="[K][M]: Euclidean between the code vectors; null is padding."
    )


class DenseTargetsContent(_LevelReply):
    """The weight of every code for each token."""

    weights: list[Any] = Field(description="[...][K], in the shape of the tokens; each row sums to 1.")


class SparseTargetsContent(_LevelReply):
    """The weights of the codes near each token."""

    tokens: list[Any] = Field(
        description="[...][M + 1]: the token itself, then its neighbors, nearest first; -1 is padding."
    )
    weights: list[Any] = Field(description="[...][M + 1]: each row sums to 1; 0 for padding.")


class CodebookContent(_LevelReply):
    """The codebook and its map."""

    codebook_size: int
    code_dim: int
    map_shape: list[int] = Field(description="[rows, columns], or [K] for a 1-D map.")
    map_topology: _MapTopology
    vectors: list[list[float]] = Field(description="[K][D]: the vector of each token.")
    coordinates: list[list[int]] = Field(description="[K][2] or [K][1]: the place of each token on the map.")


class LevelCard(_Card):
    """One grid of tokens of an image and the codebook behind it."""

    name: str
    latent_grid: tuple[int, int] = Field(description="[h, w]: the tokens of an image.")
    map_shape: tuple[int, ...] = Field(description="[rows, columns] of the map, or [K] for a line of codes.")
    map_topology: _MapTopology
    codebook_size: int
    code_dim: int
    codebook_hash: str = Field(validation_alias="codebook_sha256", description="SHA-256 of its code vectors.")


class ModelCard(_Card):
    """What is known of a served model."""

    name: str
    version: str = Field(description="Of its name, the one that is served.")
    description: str
    license: str
    image: ImageSpec
    levels: list[LevelCard]
    metrics: dict[str, JsonValue] = Field(description="What `evaluate` measured.")
    training_data: TrainingData
    checkpoint: CheckpointRecord


class Models(Record):
    """The models that this service runs, and those that it could load."""

    models: list[ModelCard]
    available: dict[str, list[str]] = Field(
        description="By name, the versions there are now where the bundles are, lowest first."
    )
    missing: dict[str, str] = Field(
        description="By name, the versions that the process which answers should serve and cannot, for it "
        "was started again without them. /metrics tells of all processes."
    )


class Loaded(Record):
    """A version that is served from now on."""

    model: str
    version: str
    previous_version: str | None = Field(description="What it took the place of; null for a new model.")
    codebook_hash: str = Field(description="SHA-256 of its code vectors: equal hashes, equal tokens.")
    seconds: list[float] = Field(description="What loading and checking took, for each worker.")


class Health(Record):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Readiness(Record):
    """The model answers."""

    status: Literal["ready"] = "ready"


class ErrorDetail(Record):
    """What went wrong."""

    code: str = Field(description="A stable name, to be compared by programs.")
    message: str = Field(description="One line: the value, the limit and the fix.")
    request_id: str = Field(description="As in the X-Request-Id header and in the server's log.")
    index: int = Field(
        default=0,
        description="If there, the image or grid of tokens that is at fault, of several: 0 is the first.",
        json_schema_extra=drop_default,
    )


class Error(Record):
    """Every reply with a status of 400 or more."""

    error: ErrorDetail
