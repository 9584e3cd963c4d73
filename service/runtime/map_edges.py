"""What becomes of a walk along one axis of the map that would leave it."""

from typing import Literal

import numpy as np
import numpy.typing as npt

Edge = Literal["clamp", "reflect"]

# NumPy's integers would overflow with a very long step, and no map is as long as this one.
_LONGEST_STEP = 2**40


def walk(places: npt.NDArray[np.int64], *, step: int, side: int, edge: Edge) -> npt.NDArray[np.int64]:
    """`places` on an axis of `side` nodes after `step`, of any size and sign: 0 to `side` - 1.

    "clamp" stops at the last node; "reflect" turns round there and goes on, without standing on the edge
    twice, as often as it takes: from 0, on a side of 4 nodes, the steps lead to 1, 2, 3, 2, 1, 0, 1, ... (the
    rule of `numpy.pad(mode="reflect")`). On a side of one node nothing moves.
    """
    if edge == "clamp" or side == 1:
        return np.clip(places + min(max(step, -_LONGEST_STEP), _LONGEST_STEP), 0, side - 1)
    # There and back again: the walk repeats after twice the side's intervals.
    period = 2 * (side - 1)
    walked = (places + step % period) % period
    return np.minimum(walked, period - walked)
