"""The shapes of our JSON, for the documentation; images and tokens never pass through these classes."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from ..runtime.manifest import CheckpointRecord, ImageSpec, TrainingData
from ..runtime.map_layout import MapTopology
from ..runtime.topology import Neighbor


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Card(BaseModel):
    """What a reply shows of a record of the manifest."""

    model_config = ConfigDict(from_attributes=True)


_Token = Annotated[int, Field(ge=0)]
_Row = Annotated[list[_Token], Field(min_length=1)]
_Grid = Annotated[list[_Row], Field(min_length=1)]
_Grids = Annotated[list[_Grid], Field(min_length=1)]
_ImageFile = Annotated[str, Field(min_length=1)]
_MapTopology = Annotated[
    MapTopology,
    Field(
        description="What is near what on the map: `rectangular` squares, `toroidal` ones that go on at the "
        "other side of the edge, or `hexagonal` cells, with the odd rows half a step to the right."
    ),
]


class OneImage(_Record):
    """An image to encode."""

    image: _ImageFile = Field(description="A JPEG, PNG or WebP file as base64, or as a data: URL.")


class ManyImages(_Record):
    """Images to encode."""

    images: list[_ImageFile] = Field(min_length=1, description="Each as base64, or as a data: URL.")


def _drop_default(schema: dict[str, Any]) -> None:
    # Of a key that may be missing, but not be sent empty.
    del schema["default"]


class _Claims(_Record):
    model: str = Field(
        default="",
        description="If sent, it must be the name of a model served.",
        json_schema_extra=_drop_default,
    )
    codebook_hash: str = Field(
        default="", description="If sent, it must be that of this model.", json_schema_extra=_drop_default
    )


_LEVEL = Field(
    default="",
    description="If sent, a level of the model, by its name; see the parameter in the URL.",
    json_schema_extra=_drop_default,
)


class TokenGrids(_Claims):
    """Tokens to decode; a reply of /encode is one."""

    tokens: _Grid | _Grids = Field(description="One grid [h][w], or many [B][h][w].")


def _fields_of_levels(grids: Any) -> Callable[[dict[str, Any]], None]:
    """Gives a JSON schema the keys `tokens_LEVEL`, one or more, with `grids` in each."""
    fields = {"^tokens_[a-z][a-z0-9_]{0,31}$": TypeAdapter(grids).json_schema()}

    def add(schema: dict[str, Any]) -> None:
        schema |= {"patternProperties": fields, "minProperties": 1}

    return add


class LevelGrids(_Claims):
    """The same of a model with several levels: for each `tokens_LEVEL`, one grid [h][w] or many."""

    model_config = ConfigDict(json_schema_extra=_fields_of_levels(_Grid | _Grids))


class _WeighOptions(_Record):
    level: str = _LEVEL
    sigma: float = Field(default=1.0, gt=0, description="In steps of the map.")
    radius: float | None = Field(default=None, ge=0, description="If sent, the weights are sparse.")
    k: int | None = Field(default=None, ge=1, description="Instead of `radius`.")


class SoftTargetsRequest(_WeighOptions, _Claims):
    """Tokens to weigh codes for; a reply of /encode is one. A parameter may be in the URL instead."""

    tokens: _Row | _Grid | _Grids = Field(description="[N], [h][w] or [B][h][w].")


class LevelSoftTargetsRequest(_WeighOptions, LevelGrids):
    """The same with the tokens of several levels, `tokens_LEVEL`, of which those of `level` count."""


class _MoveOptions(_Record):
    level: str = _LEVEL
    offset: list[int] = Field(
        default=[],
        description="Here or in the URL: [dx, dy], or [dx] on a 1-D map.",
        json_schema_extra=_drop_default,
    )
    edge: Literal["clamp", "reflect"] = Field(default="clamp", description="Here or in the URL.")


class PerturbRequest(_MoveOptions, TokenGrids):
    """Tokens to move; a reply of /encode is one, with `offset` in the URL."""


class LevelPerturbRequest(_MoveOptions, LevelGrids):
    """The same with the tokens of every level, `tokens_LEVEL`."""


class _PathOptions(_Claims):
    level: str = _LEVEL
    steps: int = Field(
        default=8, ge=2, description="Here or in the URL: grids on the way, the ends included."
    )


class InterpolateRequest(_PathOptions):
    """The two ends of a path over the map."""

    start: _Grid = Field(alias="from", description="A grid [h][w].")
    end: _Grid = Field(alias="to", description="A grid [h][w].")


class LevelGrid(_Record):
    """For each level a grid `tokens_LEVEL` [h][w]."""

    model_config = ConfigDict(json_schema_extra=_fields_of_levels(_Grid))


class LevelInterpolateRequest(_PathOptions):
    """The same of a model with several levels."""

    start: LevelGrid = Field(alias="from", description="For each level `tokens_LEVEL`, a grid [h][w].")
    end: LevelGrid = Field(alias="to", description="For each level `tokens_LEVEL`, a grid [h][w].")


class _ModelReply(_Record):
    model: str = Field(description="Name of the model that answered.")
    codebook_hash: str = Field(
        description="SHA-256 of its code vectors: equal hashes, equal tokens. Of several levels, SHA-256 of a "
        "line for each with its name, a space and its hash."
    )


class _LevelReply(_ModelReply):
    level: str = Field(
        default="",
        description="The level that this is about, where the model has several.",
        json_schema_extra=_drop_default,
    )


class Encoded(_ModelReply):
    """Tokens of images."""

    tokens: list[list[list[int]]] = Field(description="[B][h][w]: one grid an image, in the order sent.")


class EncodedLevels(_ModelReply):
    """Tokens of images on several levels: for each `tokens_LEVEL` [B][h][w]."""

    model_config = ConfigDict(json_schema_extra=_fields_of_levels(list[list[list[int]]]))


class Decoded(_ModelReply):
    """Images of tokens."""

    images: list[str] = Field(description="PNG files as base64, in the order of the token grids.")


class Neighborhood(_Record):
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


class Models(_Record):
    """The models that this service runs, and those that it could load."""

    models: list[ModelCard]
    available: dict[str, list[str]] = Field(
        description="By name, the versions there are now where the bundles are, lowest first."
    )
    missing: dict[str, str] = Field(
        description="By name, the versions that the process which answers should serve and cannot, for it "
        "was started again without them. /metrics tells of all processes."
    )


class Loaded(_Record):
    """A version that is served from now on."""

    model: str
    version: str
    previous_version: str | None = Field(description="What it took the place of; null for a new model.")
    codebook_hash: str = Field(description="SHA-256 of its code vectors: equal hashes, equal tokens.")
    seconds: list[float] = Field(description="What loading and checking took, for each worker.")


class Health(_Record):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Readiness(_Record):
    """The model answers."""

    status: Literal["ready"] = "ready"


class ErrorDetail(_Record):
    """What went wrong."""

    code: str = Field(description="A stable name, to be compared by programs.")
    message: str = Field(description="One line: the value, the limit and the fix.")
    request_id: str = Field(description="As in the X-Request-Id header and in the server's log.")
    index: int = Field(
        default=0,
        description="If there, the image or grid of tokens that is at fault, of several: 0 is the first.",
        json_schema_extra=_drop_default,
    )


class Error(_Record):
    """Every reply with a status of 400 or more."""

    error: ErrorDetail
