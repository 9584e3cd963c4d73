"""The safetensors format to and from bytes, for bytes that a stranger sent.

The format is described at https://huggingface.co/docs/safetensors: the size of the header in 8 bytes, the
header (a JSON object with the type, shape and place of each tensor, and texts as metadata), and the tensors'
bytes, little-endian and in C order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from .errors import MalformedBodyError
from .json_object import read_json_object
from .npy import shaped

# One tensor and what it says of its model need some 300; the library takes 10 seconds for one of a million.
MAX_HEADER_BYTES = 16 * 1024

_SIZE_BYTES = 8
_DTYPES = {
    "U8": "<u1",
    "I8": "<i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedTensor:
    """The one tensor of a safetensors file."""

    tensor: npt.NDArray[np.integer]
    metadata: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedTensors:
    """What is in a safetensors file."""

    tensors: Mapping[str, npt.NDArray[np.integer]]
    metadata: Mapping[str, str]

    @property
    def shown(self) -> str:
        """The first names of the tensors, for a message."""
        return ", ".join(repr(name[:30]) for name in list(self.tensors)[:5]) or "none"


def read_safetensors(content: bytes, *, name: str) -> NamedTensor:
    """The tensor `name` in `content`, which holds no other, of integers of any type and shape.

    Raises:
        MalformedBodyError: no safetensors, or of other tensors, or shorter or longer than its header says.
    """
    named = read_tensors(content)
    if named.tensors.keys() != {name}:
        raise MalformedBodyError(f"the safetensors hold the tensors {named.shown}; give one, {name!r}")
    return NamedTensor(tensor=named.tensors[name], metadata=named.metadata)


def read_tensors(content: bytes) -> NamedTensors:
    """The tensors in `content`, of integers of any types and shapes.

    Raises:
        MalformedBodyError: no safetensors, or of other types, or shorter or longer than its header says.
    """
    header_bytes = int.from_bytes(content[:_SIZE_BYTES], "little")
    if header_bytes > min(MAX_HEADER_BYTES, len(content) - _SIZE_BYTES):
        raise MalformedBodyError(
            f"the safetensors say their header has {header_bytes} bytes, and have {len(content)} themselves; "
            f"the limit is {MAX_HEADER_BYTES}; give the whole file, with the tensors that belong in it alone"
        )
    header = read_json_object(
        content[_SIZE_BYTES : _SIZE_BYTES + header_bytes], example="what safetensors' save writes"
    )
    try:
        tensors = dict(deserialize(content))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise MalformedBodyError(
            f"these are no safetensors ({str(error)[:150]}); give what safetensors' save writes"
        ) from None
    arrays = {name: _array(tensor, name=name) for name, tensor in tensors.items()}
    return NamedTensors(tensors=arrays, metadata=header.get("__metadata__") or {})


def write_safetensors(tensors: Mapping[str, npt.NDArray[Any]], *, metadata: Mapping[str, str]) -> bytes:
    """`tensors` and `metadata` as a safetensors file."""
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return save(contiguous, metadata=dict(metadata))


def _array(tensor: Mapping[str, Any], *, name: str) -> npt.NDArray[np.integer]:
    dtype = tensor["dtype"]
    if dtype not in _DTYPES:
        raise MalformedBodyError(f"the tensor {name[:30]!r} is of {dtype}; give one of {', '.join(_DTYPES)}")
    return shaped(np.frombuffer(tensor["data"], dtype=_DTYPES[dtype]), tensor["shape"])
