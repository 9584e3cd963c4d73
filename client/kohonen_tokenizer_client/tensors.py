"""The safetensors format to and from bytes: the wire format of tokens of several levels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

MEDIA_TYPE = "application/x-safetensors"


def write_tensors(tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """`tensors` by name as a safetensors file."""
    return save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})


def read_tensors(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """The tensors in `content` by name.

    Raises:
        ValueError: no safetensors, or shorter or longer than they say.
    """
    try:
        return load(content)
    except SafetensorError as error:
        raise ValueError(f"these are no safetensors: {error}") from error
