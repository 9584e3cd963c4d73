"""Integers in the lists of parsed JSON, as an array, without a look at each one in Python."""

from array import array
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .json_object import kind_of


def integers_from_json(
    value: object, *, text: bytes, name: str, max_dimensions: int, error: type[InputError]
) -> npt.NDArray[np.int64]:
    """The integers in nested lists of one shape, the value of the key `name` in the JSON `text`.

    Raises:
        InputError: of the class `error`, if there is anything else, or in more dimensions.
        OverflowError: an integer is beyond 63 bits.
    """
    if not isinstance(value, list):
        raise error(f"{name} is {kind_of(value)}; give lists of whole numbers")
    leaves, shape = value, [len(value)]
    while leaves and all(isinstance(leaf, list) for leaf in leaves):
        sizes = set(map(len, leaves))
        if len(sizes) > 1:
            raise error(f"{name} are ragged; give lists of one length at each depth")
        shape.append(sizes.pop())
        if len(shape) > max_dimensions:
            raise error(f"{name} have more than {max_dimensions} dimensions; give at most as many")
        leaves = list(chain.from_iterable(leaves))
    # An array takes nothing but integers, or says so, but for true and false: they are 1 and 0 to it.
    if b"true" in text or b"false" in text:
        _check_leaves(leaves, name=name, error=error)
    try:
        return np.frombuffer(array("q", leaves), dtype=np.int64).reshape(shape)
    except TypeError:
        _check_leaves(leaves, name=name, error=error)
        raise OverflowError(f"{name} hold an integer beyond 64 bits") from None


def _check_leaves(leaves: list[Any], *, name: str, error: type[InputError]) -> None:
    """Let nothing but integers be in `leaves`, and floats that were integers beyond 64 bits."""
    for leaf in leaves:
        if type(leaf) is not int and not (isinstance(leaf, float) and abs(leaf) >= 2**63):
            raise error(
                f"{name} hold {kind_of(leaf)} where an integer belongs; give lists of one shape, of whole "
                "numbers only"
            )
