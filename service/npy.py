"""NumPy's .npy format to and from bytes, for bytes that a stranger sent.

The format is described in numpy.lib.format: a magic string, a version, the header (a Python literal with the
element type, the order and the shape), and the elements.
"""

import io
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .errors import MalformedBodyError

# A plain array's header has 118 characters, padding included; a long one can only be an attack on the parser.
MAX_HEADER_CHARS = 1000
# Twice what anyone needs here; NumPy itself fails beyond 64.
MAX_DIMENSIONS = 8


def read_npy(content: bytes) -> npt.NDArray[Any]:
    """The array in `content`: a read-only view, made only after the header agrees with the number of bytes.

    Raises:
        MalformedBodyError: no .npy of a plain numeric type, or shorter or longer than its header says.
    """
    stream = io.BytesIO(content)
    try:
        match np.lib.format.read_magic(stream):
            case (1, 0):
                header = np.lib.format.read_array_header_1_0(stream, max_header_size=MAX_HEADER_CHARS)
            case (2, 0):
                header = np.lib.format.read_array_header_2_0(stream, max_header_size=MAX_HEADER_CHARS)
            case major, minor:
                raise ValueError(f"version {major}.{minor}")
    except Exception:
        # The header is a Python literal that the client wrote. Whatever its parsers raise (ValueError,
        # SyntaxError, TokenError, RecursionError, ...), the client's bytes are the cause.
        raise MalformedBodyError(
            f"what begins with {content[:8]!r} is no .npy of version 1 or 2; give what numpy.save writes"
        ) from None
    shape, fortran_order, dtype = header
    if dtype.kind not in "biuf":
        raise MalformedBodyError(
            f"the .npy holds elements of type {str(dtype)[:50]}; give plain numbers, without pickled objects"
        )
    if any(size < 0 for size in shape):
        raise MalformedBodyError(f"the .npy says shape {_shown(shape)}; give no negative sizes")
    num_bytes = len(content) - stream.tell()
    num_bytes_told = math.prod(shape) * dtype.itemsize
    if num_bytes != num_bytes_told:
        raise MalformedBodyError(
            f"the .npy says shape {_shown(shape)} of {dtype}, {num_bytes_told} bytes, not {num_bytes}; "
            "give the whole file and nothing after it"
        )
    elements = np.frombuffer(content, dtype=dtype, offset=stream.tell())
    return shaped(elements, shape, order="F" if fortran_order else "C")


def write_npy(array: npt.NDArray[Any]) -> bytes:
    """`array` as a .npy file of version 1.0, little-endian and in C order."""
    stream = io.BytesIO()
    little_endian = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    np.lib.format.write_array(stream, little_endian, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def shaped(
    elements: npt.NDArray[Any], shape: Sequence[int], *, order: Literal["C", "F"] = "C"
) -> npt.NDArray[Any]:
    """`elements`, as many as `shape` has, in that shape.

    Raises:
        MalformedBodyError: no array can have it, because of too many dimensions, or sizes beside a zero.
    """
    try:
        if len(shape) <= MAX_DIMENSIONS:
            return elements.reshape(shape, order=order)
    except (ValueError, OverflowError):
        pass
    raise MalformedBodyError(
        f"the shape {_shown(shape)} is of no array; give at most {MAX_DIMENSIONS} dimensions, and their sizes"
    )


def _shown(shape: Sequence[int]) -> str:
    return str(list(shape))[:60]
