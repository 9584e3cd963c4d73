"""Parameters of requests, read as strictly from the URL as from a JSON body."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, TypeVar, get_args

from fastapi import Depends
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from ..errors import ParameterError

# A number as JSON writes it (RFC 8259, section 6): Python's own readers also take "1_0" and " 1".
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MAX_NUMBER_CHARS = 100

_HEADERS: Mapping[str, Any] = {
    "If-None-Match": {
        "description": "The `ETag` of what the client has: the answer is 304 if that is still right.",
        "schema": {"type": "string"},
    },
    "Inference-Header-Content-Length": {
        "description": "Bytes of the JSON, where binary data stand behind it.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-Expect-Codebook-Hash": {
        "description": "The `codebook_hash` that the model must have, else a 409 comes: whoever sends it "
        "with every request never mixes the tokens of two models, whatever is loaded meanwhile.",
        "schema": {"type": "string"},
    },
    "X-Timeout-S": {
        "description": "Seconds, from the headers on, in which the answer must be there, else a 504 comes; "
        "at most the limit of the service, which holds without it.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
}


class Parameters(BaseModel):
    """Base of the parameters that a route takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    repeatable: ClassVar[frozenset[str]] = frozenset()
    """Names that make a list in the URL, one value each time."""


class ModelParameters(Parameters):
    """Base of the parameters of routes that use a model."""

    model: str | None = Field(
        default=None, description="The model to use, by its name in /models. Where one is served, it is that."
    )


class LevelParameters(ModelParameters):
    """Base of the parameters of routes that are about one level's map."""

    level: str | None = Field(
        default=None,
        description="The level of tokens that is meant, by its name in /models. Where the model has one, it "
        "is that.",
    )


P = TypeVar("P", bound=Parameters)


def from_url(model: type[P]) -> Callable[[Request], Awaitable[P]]:
    """A dependency that gives a route its parameters in the URL, as `read_url` has it."""

    async def read(request: Request) -> P:
        return read_url(request, model=model)

    return read


def read_url(request: Request, *, model: type[P]) -> P:
    """The parameters in the URL of `request`.

    Raises:
        ParameterError: a name that is none of `model`, a name given twice, or a wrong value.
    """
    if not request.scope["query_string"]:
        parameters: P = _without_values(model)
        return parameters
    return validate(model, url_values(request, model=model))


def url_values(request: Request, *, model: type[Parameters]) -> dict[str, Any]:
    """The values in the URL of `request`, as JSON would have them.

    Raises:
        ParameterError: a name that is none of `model`, or a name given twice.
    """
    values: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name not in model.model_fields:
            raise _unknown(name)
        if name in model.repeatable:
            values.setdefault(name, []).append(_value(text))
        elif name in values:
            raise ParameterError(f"{name!r} is given more than once in the URL; give it once")
        else:
            # A model may be called 512.
            values[name] = text if _is_text(model, name) else _value(text)
    return values


def together(in_url: Mapping[str, Any], in_body: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a call that takes parameters in both places.

    Raises:
        ParameterError: a name given in both.
    """
    for name in in_body:
        if name in in_url:
            raise ParameterError(f"{name[:50]!r} is given in the URL and in the body; give it once")
    return {**in_url, **in_body}


def _is_text(model: type[Parameters], name: str) -> bool:
    annotation = model.model_fields[name].annotation
    return str in (annotation, *get_args(annotation))


@lru_cache
def _without_values(model: type[P]) -> P:
    # They are frozen, so that one may serve every request.
    return validate(model, {})


NoParameters = Depends(from_url(Parameters))
"""For routes without parameters: a name that means nothing here would otherwise be dropped in silence."""


def validate(model: type[P], values: Mapping[str, Any]) -> P:
    """`values`, from JSON, as `model`.

    Raises:
        ParameterError: an unknown name, or a value that is not of the documented type.
    """
    # Before pydantic, which would list each of a million.
    for name in values:
        if name not in model.model_fields:
            raise _unknown(name)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))[:50]
        if first["type"] == "extra_forbidden":
            raise _unknown(name) from None
        if first["type"] == "missing":
            raise ParameterError(f"{name} is missing; give it, as /docs shows") from None
        raise ParameterError(f"{name}: {first['msg']}, not {str(first['input'])[:100]!r}") from None


def _unknown(name: str) -> ParameterError:
    return ParameterError(f"{name[:50]!r} is no parameter here; leave it out, or see /docs for its name")


def parameter_docs(model: type[Parameters], *, headers: Sequence[str] = ()) -> dict[str, Any]:
    """The OpenAPI documentation of the parameters in the URL, and of `headers`, which this module lists."""
    in_url = [
        {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}
        for name, schema in model.model_json_schema()["properties"].items()
    ]
    return {"parameters": [*in_url, *({"name": name, "in": "header", **_HEADERS[name]} for name in headers)]}


def _value(text: str) -> int | float | str:
    """The value that `text` would be in JSON, where numbers and strings differ."""
    if len(text) <= _MAX_NUMBER_CHARS and _NUMBER.fullmatch(text):
        number: int | float = json.loads(text)
        return number
    return text
