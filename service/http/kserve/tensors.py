"""Tensors of the Open Inference Protocol: integers and byte strings, in JSON or as binary data."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputError, MalformedBodyError
from ...json_integers import integers_from_json
from ...npy import MAX_DIMENSIONS, shaped
from ..bodies import check_count

# The integers among the protocol's datatypes. Binary data are little-endian.
DTYPES: Mapping[str, str] = {
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
}
BYTES = "BYTES"

# What stands before each element of BYTES: its length.
_LENGTH_BYTES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class InputTensor:
    """A tensor as it came."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: object
    """Its data in JSON, flat or nested, if it has them there."""
    text: bytes
    """The JSON that they come from."""
    binary: memoryview | None
    """Its binary data, otherwise."""

    def integers(
        self, *, error: type[InputError], datatypes: Collection[str] = tuple(DTYPES)
    ) -> npt.NDArray[Any]:
        """The tensor as an array of its datatype and shape.

        Raises:
            InputError: of the class `error` if its datatype is none of `datatypes`, or it does not hold
                integers of it, or another if the number of values does not fit the shape.
        """
        if self.datatype not in datatypes:
            raise error(f"the input {self.name!r} is {self.datatype[:30]!r}; give {' or '.join(datatypes)}")
        dtype = np.dtype(DTYPES[self.datatype])
        if self.binary is not None:
            self._check_size(len(self.binary), size=math.prod(self.shape) * dtype.itemsize, unit="bytes")
            return shaped(np.frombuffer(self.binary, dtype=dtype), self.shape)
        name = f"the data of {self.name!r}"
        limits = np.iinfo(dtype)
        try:
            values = integers_from_json(
                self.values, text=self.text, name=name, max_dimensions=MAX_DIMENSIONS, error=error
            )
            if values.size and not limits.min <= values.min() <= values.max() <= limits.max:
                raise OverflowError
        except OverflowError:
            raise error(
                f"{name} hold an integer outside {limits.min} to {limits.max}; give what {self.datatype} "
                "holds"
            ) from None
        self._check_size(values.size, size=math.prod(self.shape), unit="values")
        return shaped(values.astype(dtype), self.shape)

    def byte_strings(self, *, max_elements: int) -> list[bytes]:
        """The elements of a binary tensor of byte strings, of shape [B].

        Raises:
            MalformedBodyError: it is none, or not as long as its elements say.
            ImageCountError: it has more than `max_elements`.
        """
        if self.datatype != BYTES or self.binary is None or len(self.shape) != 1:
            raise MalformedBodyError(
                f"the input {self.name!r} is {self.datatype[:30]!r} of shape {list(self.shape)}; "
                f"give {BYTES} of shape [B], as binary data"
            )
        check_count(self.shape[0], what="images", max_images=max_elements)
        elements: list[bytes] = []
        rest = self.binary
        while rest and len(elements) < self.shape[0]:
            end = _LENGTH_BYTES + int.from_bytes(rest[:_LENGTH_BYTES], "little")
            if end > len(rest):
                raise MalformedBodyError(
                    f"element {len(elements)} of {self.name!r} needs {end} bytes, and {len(rest)} are left; "
                    "give the length of each in 4 bytes, little-endian, and then the element"
                )
            elements.append(bytes(rest[_LENGTH_BYTES:end]))
            rest = rest[end:]
        self._check_size(len(elements), size=self.shape[0], unit="elements")
        if rest:
            raise MalformedBodyError(
                f"{len(rest)} bytes are behind the last element of {self.name!r}; give as many as its shape "
                "says"
            )
        return elements

    def _check_size(self, found: int, *, size: int, unit: str) -> None:
        if found != size:
            raise MalformedBodyError(
                f"the input {self.name!r} of shape {list(self.shape)} has {found} {unit}, not {size}; give "
                "all of it and no more"
            )
