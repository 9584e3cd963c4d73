"""Inference requests of the Open Inference Protocol, version 2: a JSON object, and binary data behind it.

The protocol: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol, and there
its binary tensor data extension: the header Inference-Header-Content-Length says where the JSON ends, and
behind it stand the tensors that have a `binary_data_size`, in their order and without gaps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from ...errors import BodyTooLargeError, MalformedBodyError
from ...json_object import read_json_object
from ...npy import MAX_DIMENSIONS
from ...runtime.images import Resize
from ..parameters import Parameters, validate
from .tensors import InputTensor

# More than any of our models has.
_MAX_TENSORS = 16
_MAX_NAME_CHARS = 1000

_EXAMPLE = '{"inputs": [{"name": ..., "datatype": ..., "shape": [...], "data": [...]}]}'

_Name = Annotated[str, Field(max_length=_MAX_NAME_CHARS)]


class _InputParameters(Parameters):
    binary_data_size: int | None = Field(default=None, ge=0, description="Bytes of its binary data.")


class _Input(Parameters):
    name: _Name
    datatype: _Name
    shape: list[Annotated[int, Field(ge=0)]] = Field(max_length=MAX_DIMENSIONS)
    parameters: _InputParameters = _InputParameters()
    # Not a list of anything: pydantic would look at each number.
    data: Any = Field(default=None, json_schema_extra={"type": "array"})


class _OutputParameters(Parameters):
    binary_data: bool | None = None


class _Output(Parameters):
    name: _Name
    parameters: _OutputParameters = _OutputParameters()


class RequestParameters(Parameters):
    """What a request may ask for beside its tensors."""

    timeout: int = Field(default=0, ge=0, description="Microseconds in which to answer; 0 for the default.")
    binary_data_output: bool = Field(default=False, description="Whether outputs are binary data.")
    resize: Resize | None = Field(
        default=None, description="What happens to images of another size, with the input `image`."
    )


class InferBody(Parameters):
    """The JSON of an inference request."""

    id: _Name | None = Field(default=None, description="Comes back in the reply.")
    parameters: RequestParameters = Field(
        default=RequestParameters(),
        description="`timeout` in microseconds, `binary_data_output`, and `resize` for the input `image`.",
    )
    inputs: list[_Input] = Field(
        min_length=1,
        max_length=_MAX_TENSORS,
        description="One tensor, or of a decoder one for each level, as the model's own description has it.",
    )
    outputs: list[_Output] = Field(
        default=[],
        max_length=_MAX_TENSORS,
        description="Those wanted; without it the pixels, or the tokens of each level.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestedOutput:
    """An output that is asked for."""

    name: str
    is_binary: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class InferRequest:
    """One inference request, taken apart; its tensors are not read yet."""

    id: str | None
    parameters: RequestParameters
    inputs: Sequence[InputTensor]
    outputs: Sequence[RequestedOutput]
    """Empty for the model's default."""


def read_request(content: bytes, *, header_bytes: int | None, max_header_bytes: int) -> InferRequest:
    """The request in `content`, whose JSON has `header_bytes`, or is all of it.

    Raises:
        InputError: the subclass that says what is wrong.
    """
    if header_bytes is None:
        header_bytes = len(content)
    elif header_bytes > len(content):
        raise MalformedBodyError(
            f"Inference-Header-Content-Length is {header_bytes}, and the body has {len(content)} bytes; "
            "give the bytes of the JSON before the binary data"
        )
    if header_bytes > max_header_bytes:
        raise BodyTooLargeError(
            f"the JSON has {header_bytes} bytes, the limit is {max_header_bytes}; send tensors as binary "
            "data, or fewer"
        )
    text = content[:header_bytes]
    request = validate(InferBody, read_json_object(text, example=_EXAMPLE))
    return InferRequest(
        id=request.id,
        parameters=request.parameters,
        inputs=_inputs(request.inputs, text=text, binary=memoryview(content)[header_bytes:]),
        outputs=[
            RequestedOutput(
                name=output.name,
                is_binary=request.parameters.binary_data_output
                if output.parameters.binary_data is None
                else output.parameters.binary_data,
            )
            for output in request.outputs
        ],
    )


def _inputs(inputs: Sequence[_Input], *, text: bytes, binary: memoryview) -> list[InputTensor]:
    tensors = []
    for tensor in inputs:
        size = tensor.parameters.binary_data_size
        if (size is None) == (tensor.data is None):
            raise MalformedBodyError(
                f"the input {tensor.name[:50]!r} has both or neither of data and binary_data_size; give one"
            )
        if size is not None and size > len(binary):
            raise MalformedBodyError(
                f"the input {tensor.name[:50]!r} has a binary_data_size of {size}, and {len(binary)} bytes "
                "are left of the body; give the sizes of what is there"
            )
        tensors.append(
            InputTensor(
                name=tensor.name,
                datatype=tensor.datatype,
                shape=tuple(tensor.shape),
                values=tensor.data,
                text=text,
                binary=None if size is None else binary[:size],
            )
        )
        binary = binary[size or 0 :]
    if binary:
        raise MalformedBodyError(
            f"{len(binary)} bytes are behind the last tensor; give the binary_data_size of each, and the "
            "header Inference-Header-Content-Length"
        )
    return tensors
