"""What is served, as the Open Inference Protocol sees it: a bundle is two models, an encoder and a decoder.

B images (-1 where a shape is told), H W pixels, h w latent grid.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from starlette.types import Receive

from ...errors import ModelNotFoundError, NotReadyError, ParameterError, PixelsError, TokensError
from ...level_tokens import field_names, grids_by_field
from ..bodies import BYTES_BESIDE_TOKENS, BYTES_PER_TOKEN, check_count
from ..image_bodies import fit_files
from ..models import Models, ServedModel
from ..settings import Settings
from .messages import InferRequest, RequestedOutput
from .tensors import BYTES, DTYPES, InputTensor

Rows = npt.NDArray[Any]

# Of JSON, for a value of a pixel: its digits, a comma, a space, and its part of the brackets.
_BYTES_PER_VALUE = 8
# Its parser lets no other thread run, not even the event loop: more than that is for binary data.
_MAX_JSON_BYTES = 2**20
# At the end of the name of the same tokens in two bytes each.
_UINT16 = "_uint16"


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """An input or output of a model."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """An output of one reply."""

    spec: TensorSpec
    array: npt.NDArray[np.integer]
    is_binary: bool


class ProtocolModel(ABC):
    """One of the two models of a bundle.

    Attributes:
        name: what the protocol's clients call it.
        served: the bundle.
        inputs: what it takes.
        needs_all: whether a request gives all of `inputs`, and not one.
        outputs: what it gives.
        max_header_bytes: bytes of JSON that a request may have.
    """

    operation: ClassVar[Literal["encode", "decode"]]
    suffix: ClassVar[str]
    needs_all: ClassVar[bool]

    def __init__(
        self,
        served: ServedModel,
        *,
        settings: Settings,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        num_default_outputs: int,
        max_data_bytes: int,
    ) -> None:
        self.name = served.name + self.suffix
        self.served = served
        self.inputs = inputs
        self.outputs = outputs
        self.max_header_bytes = min(max_data_bytes, _MAX_JSON_BYTES) + BYTES_BESIDE_TOKENS
        self._default_outputs = outputs[:num_default_outputs]
        self._settings = settings

    @abstractmethod
    def read(self, request: InferRequest) -> Rows:
        """What the model runs on, from the tensors of `request`; for a worker thread.

        Raises:
            InputError: the subclass that says what is wrong.
        """

    @abstractmethod
    async def run(self, prepare: Callable[[], Rows], *, deadline: float, receive: Receive) -> Rows:
        """The result of what `prepare` reads in a thread, as `ServedModel` has it."""

    @abstractmethod
    def split(self, result: Rows) -> Mapping[str, Rows]:
        """What is in the `result` of a run, by the name of each output."""

    def requested(self, request: InferRequest) -> Sequence[tuple[TensorSpec, bool]]:
        """The outputs that `request` asks for, each with whether it is to be binary data.

        Raises:
            ParameterError: there is no such output, or one is asked for twice.
        """
        asked = request.outputs or [
            RequestedOutput(name=spec.name, is_binary=request.parameters.binary_data_output)
            for spec in self._default_outputs
        ]
        if len({output.name for output in asked}) < len(asked):
            raise ParameterError("an output is asked for twice; ask for each once")
        return [(_find(self.outputs, output.name, kind="output"), output.is_binary) for output in asked]

    def _only_input(self, request: InferRequest) -> InputTensor:
        if len(request.inputs) > 1:
            raise ParameterError(
                f"{len(request.inputs)} inputs are given; give one, {_names(self.inputs, joined_by=' or ')}"
            )
        (tensor,) = request.inputs
        _find(self.inputs, tensor.name, kind="input")
        return tensor


class Encoder(ProtocolModel):
    """Pixels, or image files, to tokens."""

    operation = "encode"
    suffix = "-encoder"
    needs_all = False

    def __init__(self, served: ServedModel, *, settings: Settings) -> None:
        """Be the encoder of `served`."""
        height, width, channels = served.tokenizer.image_shape
        tokens = _token_specs(served)
        small = [
            TensorSpec(name=spec.name + _UINT16, datatype="UINT16", shape=spec.shape)
            for spec, one in zip(tokens, served.tokenizer.levels.values(), strict=True)
            if one.level.codebook_size <= 2**16
        ]
        super().__init__(
            served,
            settings=settings,
            inputs=[
                TensorSpec(name="pixels", datatype="UINT8", shape=(-1, height, width, channels)),
                TensorSpec(name="image", datatype=BYTES, shape=(-1,)),
            ],
            outputs=[*tokens, *small],
            num_default_outputs=len(tokens),
            max_data_bytes=settings.max_images * height * width * channels * _BYTES_PER_VALUE,
        )

    def read(self, request: InferRequest) -> Rows:
        """Images uint8 [B, H, W, 3]."""
        tensor = self._only_input(request)
        settings, tokenizer = self._settings, self.served.tokenizer
        if tensor.name == "image":
            height, width, _ = tokenizer.image_shape
            return fit_files(
                tensor.byte_strings(max_elements=settings.max_images),
                height=height,
                width=width,
                resize=request.parameters.resize or "crop",
                settings=settings,
            )
        if request.parameters.resize is not None:
            raise _needless_resize()
        pixels = tensor.integers(error=PixelsError, datatypes=(self.inputs[0].datatype,))
        images = tokenizer.check_images(pixels)
        check_count(len(images), what="images", max_images=settings.max_images)
        return images

    async def run(self, prepare: Callable[[], Rows], *, deadline: float, receive: Receive) -> Rows:
        """Tokens int32 [B, h, w], or [B, T] of several levels."""
        return await self.served.encode(prepare, deadline=deadline, receive=receive)

    def split(self, result: Rows) -> Mapping[str, Rows]:
        """The grids [B, h, w] of each level, by both names."""
        grids = grids_by_field(result, tokenizer=self.served.tokenizer)
        return grids | {name + _UINT16: tokens for name, tokens in grids.items()}


class Decoder(ProtocolModel):
    """Tokens to pixels."""

    operation = "decode"
    suffix = "-decoder"
    needs_all = True

    def __init__(self, served: ServedModel, *, settings: Settings) -> None:
        """Be the decoder of `served`."""
        num_tokens = math.prod(served.tokenizer.token_shape)
        super().__init__(
            served,
            settings=settings,
            inputs=_token_specs(served),
            outputs=[TensorSpec(name="pixels", datatype="UINT8", shape=(-1, *served.tokenizer.image_shape))],
            num_default_outputs=1,
            max_data_bytes=settings.max_images * num_tokens * BYTES_PER_TOKEN,
        )

    def read(self, request: InferRequest) -> Rows:
        """Tokens int32 [B, h, w], or [B, T] of several levels, from integers of any type."""
        if request.parameters.resize is not None:
            raise _needless_resize()
        tokens = self.served.tokenizer.check_tokens(self._tokens(request))
        check_count(len(tokens), what="token grids", max_images=self._settings.max_images)
        return tokens

    async def run(self, prepare: Callable[[], Rows], *, deadline: float, receive: Receive) -> Rows:
        """Images uint8 [B, H, W, 3]."""
        return await self.served.decode(prepare, deadline=deadline, receive=receive)

    def split(self, result: Rows) -> Mapping[str, Rows]:
        """The images."""
        return {self.outputs[0].name: result}

    def _tokens(self, request: InferRequest) -> Rows | Mapping[str, Rows]:
        if len(self.inputs) == 1:
            return self._only_input(request).integers(error=TokensError)
        given = {tensor.name: tensor for tensor in request.inputs}
        names = field_names(self.served.tokenizer)
        if len(given) < len(request.inputs) or given.keys() != set(names.values()):
            shown = ", ".join(tensor.name[:50] for tensor in request.inputs)
            wanted = _names(self.inputs, joined_by=" and ")
            raise ParameterError(f"the inputs are {shown}; give each of {wanted} once")
        return {level: given[name].integers(error=TokensError) for level, name in names.items()}


_KINDS = (Encoder, Decoder)


def protocol_models(models: Models, *, settings: Settings) -> list[ProtocolModel]:
    """Every model that is served."""
    return [kind(served, settings=settings) for served in models for kind in _KINDS]


@contextmanager
def use(models: Models, name: str, *, version: str | None, settings: Settings) -> Iterator[ProtocolModel]:
    """The model `name`; its bundle stays while the context lasts.

    Raises:
        ModelNotFoundError: there is none of this name and version.
        NotReadyError: none is there yet, or this one could not be started again.
    """
    bundles = (*(served.name for served in models), *models.missing)
    kinds = {bundle + kind.suffix: (bundle, kind) for bundle in bundles for kind in _KINDS}
    if not kinds:
        raise NotReadyError("the model warms up; try again in a second")
    if name not in kinds:
        raise ModelNotFoundError(
            f"there is no model {name[:50]!r} here; ask for one of {', '.join(list(kinds)[:10])}"
        )
    bundle, kind = kinds[name]
    with models.use(bundle) as served:
        if version not in (None, served.version):
            raise ModelNotFoundError(
                f"model {name} is served in version {served.version}, not {str(version)[:50]!r}; ask for "
                "that one, or for none"
            )
        yield kind(served, settings=settings)


def outputs_of(results: Mapping[str, Rows], *, requested: Sequence[tuple[TensorSpec, bool]]) -> list[Output]:
    """The `results` of a run, by name, as the outputs that are `requested`."""
    return [
        Output(
            spec=spec,
            array=results[spec.name].astype(DTYPES[spec.datatype], copy=False),
            is_binary=is_binary,
        )
        for spec, is_binary in requested
    ]


def _token_specs(served: ServedModel) -> list[TensorSpec]:
    """The tokens of each level."""
    tokenizer = served.tokenizer
    return [
        TensorSpec(name=name, datatype="INT32", shape=(-1, *tokenizer.levels[level].level.latent_grid))
        for level, name in field_names(tokenizer).items()
    ]


def _needless_resize() -> ParameterError:
    return ParameterError("resize is for the input image of the encoder; leave it out")


def _find(specs: Sequence[TensorSpec], name: str, *, kind: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise ParameterError(f"there is no {kind} {name[:50]!r}; use {_names(specs, joined_by=' or ')}")


def _names(specs: Sequence[TensorSpec], *, joined_by: str) -> str:
    return joined_by.join(spec.name for spec in specs)
