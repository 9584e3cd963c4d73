"""What is served, as the Open Inference Protocol sees it: a bundle is two models, an encoder and a decoder.

B images (-1 where a shape is told), H W pixels, h w latent grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from starlette.types import Receive

from ...errors import ModelNotFoundError, NotReadyError, ParameterError, PixelsError, TokensError
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
        inputs: what it takes, of which a request gives one.
        outputs: what it gives, the first where a request does not say.
        max_header_bytes: bytes of JSON that a request may have.
    """

    operation: ClassVar[Literal["encode", "decode"]]
    suffix: ClassVar[str]

    def __init__(
        self,
        served: ServedModel,
        *,
        settings: Settings,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        max_data_bytes: int,
    ) -> None:
        self.name = served.name + self.suffix
        self.served = served
        self.inputs = inputs
        self.outputs = outputs
        self.max_header_bytes = min(max_data_bytes, _MAX_JSON_BYTES) + BYTES_BESIDE_TOKENS
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

    def requested(self, request: InferRequest) -> Sequence[tuple[TensorSpec, bool]]:
        """The outputs that `request` asks for, each with whether it is to be binary data.

        Raises:
            ParameterError: there is no such output, or one is asked for twice.
        """
        asked = request.outputs or [
            RequestedOutput(name=self.outputs[0].name, is_binary=request.parameters.binary_data_output)
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
        if request.parameters.resize is not None and tensor.datatype != BYTES:
            raise ParameterError("resize is for the input image of the encoder; leave it out")
        return tensor


class Encoder(ProtocolModel):
    """Pixels, or image files, to tokens."""

    operation = "encode"
    suffix = "-encoder"

    def __init__(self, served: ServedModel, *, settings: Settings) -> None:
        """Be the encoder of `served`."""
        level = served.tokenizer.level
        height, width, channels = served.tokenizer.image_shape
        grid = (-1, *level.latent_grid)
        outputs = [TensorSpec(name="tokens", datatype="INT32", shape=grid)]
        if level.codebook_size <= 2**16:
            outputs.append(TensorSpec(name="tokens_uint16", datatype="UINT16", shape=grid))
        super().__init__(
            served,
            settings=settings,
            inputs=[
                TensorSpec(name="pixels", datatype="UINT8", shape=(-1, height, width, channels)),
                TensorSpec(name="image", datatype=BYTES, shape=(-1,)),
            ],
            outputs=outputs,
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
        pixels = tensor.integers(error=PixelsError, datatypes=(self.inputs[0].datatype,))
        images = tokenizer.check_images(pixels)
        check_count(len(images), what="images", max_images=settings.max_images)
        return images

    async def run(self, prepare: Callable[[], Rows], *, deadline: float, receive: Receive) -> Rows:
        """Tokens int32 [B, h, w]."""
        return await self.served.encode(prepare, deadline=deadline, receive=receive)


class Decoder(ProtocolModel):
    """Tokens to pixels."""

    operation = "decode"
    suffix = "-decoder"

    def __init__(self, served: ServedModel, *, settings: Settings) -> None:
        """Be the decoder of `served`."""
        height, width = served.tokenizer.level.latent_grid
        super().__init__(
            served,
            settings=settings,
            inputs=[TensorSpec(name="tokens", datatype="INT32", shape=(-1, height, width))],
            outputs=[TensorSpec(name="pixels", datatype="UINT8", shape=(-1, *served.tokenizer.image_shape))],
            max_data_bytes=settings.max_images * height * width * BYTES_PER_TOKEN,
        )

    def read(self, request: InferRequest) -> Rows:
        """Tokens int32 [B, h, w], from integers of any type."""
        tokens = self.served.tokenizer.check_tokens(self._only_input(request).integers(error=TokensError))
        check_count(len(tokens), what="token grids", max_images=self._settings.max_images)
        return tokens

    async def run(self, prepare: Callable[[], Rows], *, deadline: float, receive: Receive) -> Rows:
        """Images uint8 [B, H, W, 3]."""
        return await self.served.decode(prepare, deadline=deadline, receive=receive)


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


def outputs_of(result: Rows, *, requested: Sequence[tuple[TensorSpec, bool]]) -> list[Output]:
    """The `result` of a run as the outputs that are `requested`."""
    return [
        Output(spec=spec, array=result.astype(DTYPES[spec.datatype], copy=False), is_binary=is_binary)
        for spec, is_binary in requested
    ]


def _find(specs: Sequence[TensorSpec], name: str, *, kind: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise ParameterError(f"there is no {kind} {name[:50]!r}; use {_names(specs, joined_by=' or ')}")


def _names(specs: Sequence[TensorSpec], *, joined_by: str) -> str:
    return joined_by.join(spec.name for spec in specs)
