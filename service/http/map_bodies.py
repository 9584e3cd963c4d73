"""Tokens for the map in a request's body, with parameters beside them or in the URL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from ..errors import MalformedBodyError
from ..json_object import read_json_object
from ..level_tokens import Claims, LevelTokens
from ..token_grids import pop_claims, pop_grid, pop_tokens, read_tokens
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

    tokens: Sequence[LevelTokens]
    """As many as the call takes; their levels, shapes and range are the model's to check."""
    parameters: P


@dataclass(frozen=True, kw_only=True, slots=True)
class MapBody(Generic[P]):
    """What the body of one kind of call is."""

    operation: Operation
    names: Sequence[str] = ()
    """The keys of the grids in JSON; empty for tokens as in a reply of /encode, which may be a .npy or
    safetensors too."""
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
        media_types = (media.JSON,) if self.names else tuple(media.TOKEN_FORMATS)
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
        kind = media.TOKEN_FORMATS[body.media_type]
        if kind == "json":
            fields = read_json_object(body.content, example=self.example)
            tokens = self._pop_tokens(fields, text=body.content)
            claims: Mapping[str, object] = pop_claims(fields)
            values = together(in_url, fields)
        else:
            tokens = [read_tokens(body.content, kind=kind)]
            claims = tokens[0].claims
        if any(array.size == 0 for sent in tokens for array in sent.arrays):
            raise MalformedBodyError(f"the body holds no tokens; give {self.example}")
        return MapCall(tokens=tokens, claims=claims, parameters=validate(self.parameters, values))

    def _pop_tokens(self, fields: dict[str, Any], *, text: bytes) -> list[LevelTokens]:
        if not self.names:
            return [pop_tokens(fields, text=text, example=self.example)]
        return [pop_grid(fields, name=name, text=text, example=self.example) for name in self.names]
