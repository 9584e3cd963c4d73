"""The shapes of JSON bodies, for the documentation; images and tokens never pass through these classes."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from .schemas import Record, drop_default, fields_of_levels

_Token = Annotated[int, Field(ge=0)]
_Row = Annotated[list[_Token], Field(min_length=1)]
_Grid = Annotated[list[_Row], Field(min_length=1)]
_Grids = Annotated[list[_Grid], Field(min_length=1)]
_ImageFile = Annotated[str, Field(min_length=1)]


class OneImage(Record):
    """An image to encode."""

    image: _ImageFile = Field(description="A JPEG, PNG or WebP file as base64, or as a data: URL.")


class ManyImages(Record):
    """Images to encode."""

    images: list[_ImageFile] = Field(min_length=1, description="Each as base64, or as a data: URL.")


class _Claims(Record):
    model: str = Field(
        default="",
        description="If sent, it must be the name of a model served.",
        json_schema_extra=drop_default,
    )
    codebook_hash: str = Field(
        default="", description="If sent, it must be that of this model.", json_schema_extra=drop_default
    )


_LEVEL = Field(
    default="",
    description="If sent, a level of the model, by its name; see the parameter in the URL.",
    json_schema_extra=drop_default,
)


class TokenGrids(_Claims):
    """Tokens to decode; a reply of /encode is one."""

    tokens: _Grid | _Grids = Field(description="One grid [h][w], or many [B][h][w].")


class LevelGrids(_Claims):
    """The same of a model with several levels: for each `tokens_LEVEL`, one grid [h][w] or many."""

    model_config = ConfigDict(json_schema_extra=fields_of_levels(_Grid | _Grids))


class _WeighOptions(Record):
    level: str = _LEVEL
    sigma: float = Field(default=1.0, gt=0, description="In steps of the map.")
    radius: float | None = Field(default=None, ge=0, description="If sent, the weights are sparse.")
    k: int | None = Field(default=None, ge=1, description="Instead of `radius`.")


class SoftTargetsRequest(_WeighOptions, _Claims):
    """Tokens to weigh codes for; a reply of /encode is one. A parameter may be in the URL instead."""

    tokens: _Row | _Grid | _Grids = Field(description="[N], [h][w] or [B][h][w].")


class LevelSoftTargetsRequest(_WeighOptions, LevelGrids):
    """The same with the tokens of several levels, `tokens_LEVEL`, of which those of `level` count."""


class _MoveOptions(Record):
    level: str = _LEVEL
    offset: list[int] = Field(
        default=[],
        description="Here or in the URL: [dx, dy], or [dx] on a 1-D map.",
        json_schema_extra=drop_default,
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


class LevelGrid(Record):
    """For each level a grid `tokens_LEVEL` [h][w]."""

    model_config = ConfigDict(json_schema_extra=fields_of_levels(_Grid))


class LevelInterpolateRequest(_PathOptions):
    """The same of a model with several levels."""

    start: LevelGrid = Field(alias="from", description="For each level `tokens_LEVEL`, a grid [h][w].")
    end: LevelGrid = Field(alias="to", description="For each level `tokens_LEVEL`, a grid [h][w].")
