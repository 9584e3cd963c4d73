"""What /neighbors asks and what it finds: the tokens around one token or around several."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import ParameterError
from ..json_object import read_json_object
from ..runtime.tokenizer import Tokenizer
from ..runtime.topology import Neighbor
from .bodies import Body
from .validation import describe_validation


class NeighborsQuery(BaseModel):
    """The parameters of /neighbors, in the URL or in a JSON body."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    token: int | None = Field(default=None, description="The token whose neighbors are asked for.")
    tokens: list[int] | None = Field(
        default=None, min_length=1, description="Instead of `token`: several, each answered by itself."
    )
    radius: float | None = Field(
        default=None,
        description="Every token at a Euclidean distance on the map of at most this. Without `k` the "
        "default is 1.5: on a 2-D map the eight around.",
    )
    k: int | None = Field(default=None, description="Instead of `radius`: this many nearest tokens.")
    by: Literal["map", "codebook"] = Field(
        default="map", description="What is near: places on the map, or code vectors (needs `k`)."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighborhood:
    """One token and the tokens near it, nearest first."""

    token: int
    coordinates: tuple[int, ...]
    neighbors: list[Neighbor]


def parse_query(body: Body) -> NeighborsQuery:
    """The query in a JSON body.

    Raises:
        MalformedBodyError: not a JSON object.
        ParameterError: a key that is no parameter, or a value of the wrong type.
    """
    fields = read_json_object(body.content, example='{"token": 0, "radius": 1.5}')
    try:
        # Strict, or JSON's true would be token 1.
        return NeighborsQuery.model_validate(fields, strict=True)
    except ValidationError as error:
        raise ParameterError(describe_validation(error.errors())) from None


def find_neighborhoods(query: NeighborsQuery, *, tokenizer: Tokenizer, max_tokens: int) -> list[Neighborhood]:
    """What is near each token of `query`, in its order.

    Raises:
        ParameterError: not exactly one of token and tokens, more than `max_tokens`, or a bad radius, k or by.
        TokenRangeError: no such token.
    """
    tokens = _tokens(query)
    if len(tokens) > max_tokens:
        raise ParameterError(f"tokens has {len(tokens)} entries, the limit is {max_tokens}; ask for fewer")
    return [
        Neighborhood(
            token=token,
            neighbors=tokenizer.neighbors(token, radius=query.radius, k=query.k, by=query.by),
            coordinates=tuple(tokenizer.codebook.coordinates[token].tolist()),
        )
        for token in tokens
    ]


def _tokens(query: NeighborsQuery) -> list[int]:
    match query.token, query.tokens:
        case int(token), None:
            return [token]
        case None, list(tokens):
            return tokens
        case None, None:
            raise ParameterError("token is missing; give token, or tokens for several")
        case _:
            raise ParameterError("token and tokens were both given; give one of them")
