"""NumPy's .npy format to and from bytes: the wire format of images, tokens, code vectors and weights."""

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

MEDIA_TYPE = "application/x-npy"


def write_npy(array: npt.NDArray[Any]) -> bytes:
    """`array` as a .npy file of version 1.0 in C order."""
    contiguous = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(contiguous))
    # One copy of the elements; write_array would make them twice.
    return b"".join((header.getvalue(), contiguous.reshape(-1).data))


def read_npy(content: bytes) -> npt.NDArray[Any]:
    """The array in `content`, in memory of its own.

    Raises:
        ValueError: no .npy of version 1.0 of plain numbers in C order, or shorter or longer than it says.
    """
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("the .npy is not of version 1.0")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject or fortran_order:
        raise ValueError("the .npy holds no plain numbers in C order")
    num_bytes = len(content) - stream.tell()
    if num_bytes != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the .npy says {list(shape)} of {dtype} and has {num_bytes} bytes")
    return np.frombuffer(content, dtype=dtype, offset=stream.tell()).reshape(shape).copy()
