"""JSON of large arrays, in pieces: while one is written no other thread runs, not even the event loop."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

# Written in a few milliseconds.
MAX_VALUES = 2**16


def write_json(content: Mapping[str, Any]) -> bytes:
    """`content`, which may hold NumPy arrays and dataclasses, as one line of JSON."""
    if not any(map(_is_large, content.values())):
        return _dumps(content)
    members = (
        _dumps(name) + b":" + (_write_array(value) if _is_large(value) else _dumps(value))
        for name, value in content.items()
    )
    return b"{" + b",".join(members) + b"}"


def _is_large(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.size > MAX_VALUES


def _write_array(array: npt.NDArray[Any]) -> bytes:
    row_size = array.size // len(array)
    if row_size > MAX_VALUES:
        return b"[" + b",".join(map(_write_array, array)) + b"]"
    num_rows = MAX_VALUES // row_size
    pieces = [array[start : start + num_rows] for start in range(0, len(array), num_rows)]
    # Each is a list of its own, but for the brackets.
    return b"[" + b",".join(_dumps(piece)[1:-1] for piece in pieces) + b"]"


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
