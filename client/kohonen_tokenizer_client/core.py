"""What both clients share: the settings, and each call as the steps that it takes.

B images, H W pixels, h w latent grid, K codebook_size; ... is any shape of tokens.
"""

import json
import math
import operator
import time
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, SupportsIndex, TypeVar, cast

import numpy as np
import numpy.typing as npt

from .batches import Batch, Limits
from .errors import ClientError, DeadlineError, InputError
from .exchange import Call, Patience, exchange
from .npy import MEDIA_TYPE, write_npy
from .records import Codebook, IntegerTokens, Model, Neighbor, Pixels, Tokens
from .replies import (
    read_codebook,
    read_model,
    read_models,
    read_neighbors,
    read_pixels,
    read_tokens,
    read_weights,
)
from .transport import Body, Reply, Steps, prepare

Resize = Literal["crop", "squash", "strict"]
Edge = Literal["clamp", "reflect"]
By = Literal["map", "codebook"]
Params = Sequence[tuple[str, str]]

T = TypeVar("T")
A = TypeVar("A", bound=npt.NDArray[Any])

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
        self._codebook: Codebook | None = None
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
                self._codebook_hash = model.level.codebook_hash
            self._model = model
        return self._model

    def codebook(self, *, deadline: float) -> Steps[Codebook]:
        """The codebook of the model, asked once."""
        if self._codebook is None:
            model = yield from self.model(deadline=deadline)
            read = partial(read_codebook, level=model.level)
            self._codebook = yield from self._ask("/codebook", read, deadline=deadline)
        return self._codebook

    def encode(self, batch: Batch, *, resize: Resize, deadline: float) -> Steps[list[Tokens]]:
        """Tokens of the images of `batch`, int32 [B, h, w] in one part or more."""
        model = yield from self.model(deadline=deadline)
        # Half the bytes; the service answers with int32 where the codes do not fit.
        dtype = "uint16" if model.level.codebook_size <= 2**16 else "int32"
        params = (("resize", resize), ("dtype", dtype))
        return (yield from self._in_parts(batch, "/encode", read_tokens, deadline=deadline, params=params))

    def decode(self, batch: Batch, *, deadline: float) -> Steps[list[Pixels]]:
        """Images of the grids of `batch`, uint8 [B, H, W, 3] in one part or more."""
        yield from self.model(deadline=deadline)
        return (yield from self._in_parts(batch, "/decode", read_pixels, deadline=deadline))

    def perturb(
        self, batch: Batch, *, offset: Sequence[SupportsIndex], edge: Edge, deadline: float
    ) -> Steps[list[Tokens]]:
        """The grids of `batch` moved over the map, int32 [B, h, w] in one part or more."""
        yield from self.model(deadline=deadline)
        params = [("edge", edge), *(("offset", str(operator.index(step))) for step in offset)]
        return (yield from self._in_parts(batch, "/perturb", read_tokens, deadline=deadline, params=params))

    def interpolate(
        self, start: IntegerTokens, end: IntegerTokens, *, num_steps: SupportsIndex, deadline: float
    ) -> Steps[Tokens]:
        """The path from the grid `start` to `end`, int32 [S, h, w]."""
        check_integers(start, num_dimensions=2)
        check_integers(end, num_dimensions=2)
        yield from self.model(deadline=deadline)
        fields = {"from": start.tolist(), "to": end.tolist(), "steps": operator.index(num_steps)}
        body = Body(content=json.dumps(fields).encode(), content_type=_JSON)
        return (yield from self._ask("/interpolate", read_tokens, deadline=deadline, body=body))

    def neighbors(
        self,
        token: SupportsIndex,
        *,
        radius: float | None,
        k: SupportsIndex | None,
        by: By,
        deadline: float,
    ) -> Steps[list[Neighbor]]:
        """The tokens near `token`."""
        yield from self.model(deadline=deadline)
        params = [("token", str(operator.index(token))), ("by", by)]
        if radius is not None:
            params.append(("radius", repr(float(radius))))
        if k is not None:
            params.append(("k", str(operator.index(k))))
        ask = self._ask("/neighbors", read_neighbors, deadline=deadline, params=params, accept=_JSON)
        return (yield from ask)

    def soft_targets(
        self, tokens: IntegerTokens | None, *, sigma: float, deadline: float
    ) -> Steps[npt.NDArray[np.float32]]:
        """The weights of all codes for `tokens` [...], float32 [..., K], or for every token."""
        model = yield from self.model(deadline=deadline)
        params = [("sigma", repr(float(sigma)))]
        body = None
        if tokens is not None:
            check_integers(tokens)
            if tokens.size == 0:
                return np.empty((*tokens.shape, model.level.codebook_size), np.float32)
            body = Body(content=write_npy(tokens), content_type=MEDIA_TYPE)
        ask = self._ask("/soft-targets", read_weights, deadline=deadline, params=params, body=body)
        return (yield from ask)

    def _in_parts(
        self,
        batch: Batch,
        path: str,
        read: Callable[[Reply], A],
        *,
        deadline: float,
        params: Params = (),
    ) -> Steps[list[A]]:
        """One reply for each item of `batch`, which is halved as often as the service finds it too large."""
        body = yield from prepare(batch.body)
        read_all = partial(_read_rows, read=read, num_rows=len(batch))
        try:
            return [(yield from self._ask(path, read_all, deadline=deadline, params=params, body=body))]
        except ClientError as error:
            if error.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE or len(batch) == 1:
                error.place(first=batch.first, count=len(batch))
                raise
            self.limits.lower(error, num_items=len(batch), num_bytes=len(body.content))
        parts: list[A] = []
        for half in batch.halves():
            parts += yield from self._in_parts(half, path, read, deadline=deadline, params=params)
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


def as_grids(tokens: IntegerTokens, *, or_one: bool = False) -> IntegerTokens:
    """`tokens`, integers [B, h, w], or also [h, w] with `or_one`, as [B, h, w].

    Raises:
        InputError: something else.
    """
    if or_one and _is_array(tokens) and tokens.ndim == 2:
        tokens = tokens[np.newaxis]
    check_integers(tokens, num_dimensions=3)
    return tokens


def check_integers(tokens: IntegerTokens, *, num_dimensions: int | None = None) -> None:
    """Return if `tokens` is an array of integers, of `num_dimensions` if that is given.

    Raises:
        InputError: it is not.
    """
    if (
        not _is_array(tokens)
        or tokens.dtype.kind not in "iu"
        or tokens.ndim != (num_dimensions or tokens.ndim)
    ):
        shown = (
            f"{tokens.dtype} {list(tokens.shape)}"
            if _is_array(tokens)
            else f"of type {type(tokens).__name__}"
        )
        wanted = {2: "[h, w]", 3: "[B, h, w]", None: "[...]"}[num_dimensions]
        raise InputError(f"tokens are {shown}; give an array of integers {wanted}", code="invalid_tokens")


def _is_array(value: object) -> bool:
    # Of any object, for callers without a type checker.
    return isinstance(value, np.ndarray)


def joined(parts: Sequence[A], *, item_shape: tuple[int, ...], dtype: type[np.generic]) -> A:
    """`parts` [B, ...] in one array, which is empty if there are none."""
    empty = np.empty((0, *item_shape), dtype)
    return cast(A, np.concatenate(parts) if parts else empty)


def _read_rows(reply: Reply, *, read: Callable[[Reply], A], num_rows: int) -> A:
    array = read(reply)
    if len(array) != num_rows:
        raise ValueError(f"it holds {len(array)} rows for {num_rows} items")
    return array
