"""Tokens for the map in a request's body, with parameters beside them or in the URL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from ..errors import MalformedBodyError
from ..json_object import keys_of, read_json_object
from ..token_grids import (
    IDENTITY_KEYS,
    Claims,
    TokenArray,
    tokens_from_json,
    tokens_from_npy,
    tokens_from_safetensors,
)
from . import media
from .admission import Place
from .bodies import BYTES_BESIDE_TOKENS, BYTES_PER_TOKEN, Body, read_body
from .media import media_type_of
from .metrics import Operation
from .parameters import ModelParameters, together, url_values, validate
from .service import Service

P = TypeVar("P", bound=ModelParameters)


@dataclass(frozen=True, kw_only=True, slots=True)
class MapCall(Claims, Generic[P]):
    """What one request asks of the map."""

    tokens: Sequence[TokenArray]
    """Integer arrays, as many as the call takes; their shapes and range are the model's to check."""
    parameters: P


@dataclass(frozen=True, kw_only=True, slots=True)
class MapBody(Generic[P]):
    """What the body of one kind of call is."""

    operation: Operation
    names: Sequence[str]
    """The keys of the tokens in JSON. Where there is one, the body may be a .npy or safetensors too."""
    parameters: type[P]
    example: str
    """A good body, for whoever sent another."""

    async def read(self, request: Request, *, max_tokens: int, service: Service, place: Place) -> MapCall[P]:
        """The call in the body of `request`, of at most about `max_tokens` tokens, and its URL.

        A parameter may stand in the URL or in a JSON body, so that a reply of /encode is a body as it is.
        JSON may hold as many tokens as the grids of one request, and no more: while it is parsed, no other
        thread runs.

        Raises:
            InputError: the subclass that says what is wrong.
            QueueFullError: as `read_body`.
        """
        media_types = (media.JSON, media.NPY, media.SAFETENSORS) if len(self.names) == 1 else (media.JSON,)
        in_url = url_values(request, model=self.parameters)
        if media_type_of(request.headers.get("content-type", "")) == media.JSON:
            max_grids = service.settings.max_images
            max_tokens = min(max_tokens, max_grids * service.models.max_tokens_per_image(None))
        num_bytes = max_tokens * BYTES_PER_TOKEN + BYTES_BESIDE_TOKENS
        body = await read_body(
            request,
            media_types=media_types,
            max_bytes=min(service.settings.max_body_bytes, num_bytes),
            service=service,
            place=place,
        )
        return await service.run(self.operation, "decode", partial(self._parse, body, in_url))

    def _parse(self, body: Body, in_url: Mapping[str, Any]) -> MapCall[P]:
        values: Mapping[str, Any] = in_url
        claims: Mapping[str, object] = {}
        if body.media_type == media.NPY:
            tokens = [tokens_from_npy(body.content)]
        elif body.media_type == media.SAFETENSORS:
            only, claims = tokens_from_safetensors(body.content)
            tokens = [only]
        else:
            fields = read_json_object(body.content, example=self.example)
            tokens = [self._pop_tokens(fields, name=name, text=body.content) for name in self.names]
            claims = {key: fields.pop(key) for key in IDENTITY_KEYS if key in fields}
            values = together(in_url, fields)
        if any(array.size == 0 for array in tokens):
            raise MalformedBodyError(f"the body holds no tokens; give {self.example}")
        return MapCall(tokens=tokens, claims=claims, parameters=validate(self.parameters, values))

    def _pop_tokens(self, fields: dict[str, Any], *, name: str, text: bytes) -> TokenArray:
        if name not in fields:
            raise MalformedBodyError(
                f"the JSON object has {keys_of(fields)} and no {name!r}; give {self.example}"
            )
        return tokens_from_json(fields.pop(name), text=text, name=name)
