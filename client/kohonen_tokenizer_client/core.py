"""What both clients share: the settings, and each call as the steps that it takes.

B images, H W pixels, h w latent grid, K codebook_size, S steps; ... is any shape of tokens.
"""

import json
import math
import operator
import time
from collections.abc import Callable, Mapping, Sequence, Sized
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

from .batches import Batch, Limits
from .errors import ClientError, DeadlineError
from .exchange import Call, Patience, exchange
from .grids import LevelGrids, media_type_of, plain
from .npy import MEDIA_TYPE, write_npy
from .records import Codebook, Grids, IntegerGrids, IntegerTokens, Model, Neighbor, Pixels
from .replies import (
    read_codebook,
    read_grids,
    read_model,
    read_models,
    read_neighbors,
    read_pixels,
    read_weights,
)
from .tokens import check_integers, ends_of_path
from .transport import Body, Reply, Steps, prepare

Resize = Literal["crop", "squash", "strict"]
Edge = Literal["clamp", "reflect"]
By = Literal["map", "codebook"]
Params = Sequence[tuple[str, str]]

T = TypeVar("T")
A = TypeVar("A", bound=Sized)

_JSON = "application/json"
# Half of what the service takes by default.
_MAX_BODY_BYTES = 16 * 2**20


class Core:
    """The settings of a client and what it knows of its model."""

    def __init__(
        self,
        *,
        model: str | None,
        api_key: str | None,
        codebook_hash: str | None,
        timeout_s: float,
        request_timeout_s: float,
        max_retries: int,
        batch_size: int,
    ) -> None:
        for name, value in (("timeout_s", timeout_s), ("request_timeout_s", request_timeout_s)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}; give seconds above 0")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give 1 or more")
        if max_retries < 0:
            raise ValueError(f"max_retries is {max_retries}; give 0 or more")
        self._name = model
        self._codebook_hash = codebook_hash
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._patience = Patience(
            timeout_s=timeout_s, request_timeout_s=request_timeout_s, max_retries=max_retries
        )
        self._model: Model | None = None
        self._codebooks: dict[str, Codebook] = {}
        self.limits = Limits(max_items=batch_size, max_bytes=_MAX_BODY_BYTES)

    def models(self, *, deadline: float) -> Steps[list[Model]]:
        """The models that are served."""
        return (yield from self._ask("/models", read_models, deadline=deadline, params=None, accept=_JSON))

    def model(self, *, deadline: float) -> Steps[Model]:
        """The model that answers; asked once, and from then on no other codebook is accepted."""
        if self._model is None:
            read = partial(read_model, name=self._name)
            model = yield from self._ask("/models", read, deadline=deadline, params=None, accept=_JSON)
            if self._codebook_hash is None:
                self._codebook_hash = model.codebook_hash
            self._model = model
        return self._model

    def codebook(self, *, level: str | None, deadline: float) -> Steps[Codebook]:
        """The codebook of `level`, asked once."""
        model = yield from self.model(deadline=deadline)
        chosen = model.choose(level)
        if chosen.name not in self._codebooks:
            read = partial(read_codebook, level=chosen)
            ask = self._ask("/codebook", read, deadline=deadline, params=_of_level(level))
            self._codebooks[chosen.name] = yield from ask
        return self._codebooks[chosen.name]

    def encode(self, batch: Batch, *, resize: Resize, deadline: float) -> Steps[list[LevelGrids]]:
        """Tokens of the images of `batch`, int32 [B, h, w] of each level, in one part or more."""
        model = yield from self.model(deadline=deadline)
        # Half the bytes, where the codes fit.
        is_small = all(level.codebook_size <= 2**16 for level in model.levels)
        params = (("resize", resize), ("dtype", "uint16" if is_small else "int32"))
        levels = [level.name for level in model.levels]
        return (yield from self._grids(batch, "/encode", levels=levels, deadline=deadline, params=params))

    def decode(self, batch: Batch, *, deadline: float) -> Steps[list[Pixels]]:
        """Images of the grids of `batch`, uint8 [B, H, W, 3] in one part or more."""
        yield from self.model(deadline=deadline)
        return (yield from self._in_parts(batch, "/decode", read_pixels, deadline=deadline))

    def perturb(
        self,
        batch: Batch,
        *,
        levels: Sequence[str],
        offset: Sequence[SupportsIndex],
        edge: Edge,
        level: str | None,
        deadline: float,
    ) -> Steps[list[LevelGrids]]:
        """The grids of `batch`, which are of `levels`, moved over the map: int32 [B, h, w], in parts."""
        yield from self.model(deadline=deadline)
        steps = [("offset", str(operator.index(step))) for step in offset]
        params = (("edge", edge), *steps, *_of_level(level))
        return (yield from self._grids(batch, "/perturb", levels=levels, deadline=deadline, params=params))

    def interpolate(
        self,
        start: IntegerGrids,
        end: IntegerGrids,
        *,
        num_steps: SupportsIndex,
        level: str | None,
        deadline: float,
    ) -> Steps[Grids]:
        """The path from the grid `start` to `end`, int32 [S, h, w], or that of each level."""
        model = yield from self.model(deadline=deadline)
        first, last = ends_of_path(start, end, model=model, level=level)
        fields = {"from": _one_as_json(first), "to": _one_as_json(last), "steps": operator.index(num_steps)}
        levels = list(first.by_level)
        path = yield from self._ask(
            "/interpolate",
            partial(read_grids, levels=levels),
            deadline=deadline,
            params=_of_level(level),
            body=Body(content=json.dumps(fields).encode(), content_type=_JSON),
            accept=media_type_of(levels),
        )
        return path.by_level if isinstance(start, Mapping) else plain(path.by_level)

    def neighbors(
        self,
        token: SupportsIndex,
        *,
        radius: float | None,
        k: SupportsIndex | None,
        by: By,
        level: str | None,
        deadline: float,
    ) -> Steps[list[Neighbor]]:
        """The tokens near `token`."""
        yield from self.model(deadline=deadline)
        params = [("token", str(operator.index(token))), ("by", by), *_of_level(level)]
        if radius is not None:
            params.append(("radius", repr(float(radius))))
        if k is not None:
            params.append(("k", str(operator.index(k))))
        ask = self._ask("/neighbors", read_neighbors, deadline=deadline, params=params, accept=_JSON)
        return (yield from ask)

    def soft_targets(
        self, tokens: IntegerTokens | None, *, sigma: float, level: str | None, deadline: float
    ) -> Steps[npt.NDArray[np.float32]]:
        """The weights of all codes for `tokens` [...], float32 [..., K], or for every token."""
        model = yield from self.model(deadline=deadline)
        params = [("sigma", repr(float(sigma))), *_of_level(level)]
        body = None
        if tokens is not None:
            check_integers(tokens)
            if tokens.size == 0:
                return np.empty((*tokens.shape, model.choose(level).codebook_size), np.float32)
            body = Body(content=write_npy(tokens), content_type=MEDIA_TYPE)
        ask = self._ask("/soft-targets", read_weights, deadline=deadline, params=params, body=body)
        return (yield from ask)

    def _grids(
        self, batch: Batch, path: str, *, levels: Sequence[str], deadline: float, params: Params
    ) -> Steps[list[LevelGrids]]:
        """Grids of `levels` for each item of `batch`."""
        read, accept = partial(read_grids, levels=levels), media_type_of(levels)
        return (yield from self._in_parts(batch, path, read, deadline=deadline, params=params, accept=accept))

    def _in_parts(
        self,
        batch: Batch,
        path: str,
        read: Callable[[Reply], A],
        *,
        deadline: float,
        params: Params = (),
        accept: str = MEDIA_TYPE,
    ) -> Steps[list[A]]:
        """One reply for each item of `batch`, which is halved as often as the service finds it too large."""
        body = yield from prepare(batch.body)
        read_all = partial(_read_rows, read=read, num_rows=len(batch))
        try:
            ask = self._ask(path, read_all, deadline=deadline, params=params, body=body, accept=accept)
            return [(yield from ask)]
        except ClientError as error:
            if error.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE or len(batch) == 1:
                error.place(first=batch.first, count=len(batch))
                raise
            self.limits.lower(error, num_items=len(batch), num_bytes=len(body.content))
        parts: list[A] = []
        for half in batch.halves():
            parts += yield from self._in_parts(
                half, path, read, deadline=deadline, params=params, accept=accept
            )
        return parts

    def _ask(
        self,
        path: str,
        read: Callable[[Reply], T],
        *,
        deadline: float,
        params: Params | None = (),
        body: Body | None = None,
        accept: str = MEDIA_TYPE,
    ) -> Steps[T]:
        """What the service answers; `params` None is for calls that are of no model."""
        headers = dict(self._headers)
        if params is not None:
            if self._name is not None:
                params = (*params, ("model", self._name))
            if self._codebook_hash is not None:
                headers["X-Expect-Codebook-Hash"] = self._codebook_hash
        call = Call(path=path, accept=accept, read=read, params=params or (), body=body)
        return (yield from exchange(call, headers=headers, patience=self._patience, deadline=deadline))


def deadline_after(seconds: float | None) -> float:
    """The time, of `time.monotonic`, that is `seconds` from now; None is never."""
    return math.inf if seconds is None else time.monotonic() + seconds


def seconds_until(deadline: float) -> float | None:
    """Seconds until `deadline`; None if it is never."""
    return None if deadline == math.inf else max(0.0, deadline - time.monotonic())


def too_late() -> DeadlineError:
    """What is raised where a call as a whole takes too long."""
    return DeadlineError("not all was done in the time allowed", code="deadline_exceeded")


def _of_level(level: str | None) -> Params:
    """The parameter of the URL that names `level`, where one is named."""
    return () if level is None else (("level", level),)


def _one_as_json(grids: LevelGrids) -> Any:
    """The grids of one image, [h][w], or those of each level in an object."""
    fields = {name: one[0].tolist() for name, one in grids.by_field.items()}
    return fields if len(fields) > 1 else fields["tokens"]


def _read_rows(reply: Reply, *, read: Callable[[Reply], A], num_rows: int) -> A:
    array = read(reply)
    if len(array) != num_rows:
        raise ValueError(f"it holds {len(array)} rows for {num_rows} items")
    return array
