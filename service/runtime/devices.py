"""Which device runs the model: a name is taken at its word, and what `auto` becomes is said in the log."""

import logging
from collections.abc import Callable
from typing import Literal

from ..errors import DeviceError

logger = logging.getLogger(__name__)

Device = Literal["cpu", "cuda", "tensorrt"]
"""What a model can run on."""

DeviceChoice = Literal["auto", "cpu", "cuda", "tensorrt"]
"""What may be asked for. `auto` never takes tensorrt, whose engines take minutes to build."""


def choose_device(choice: DeviceChoice, *, check: Callable[[Device], None]) -> Device:
    """The device for `choice`, which `check` has found to work.

    Args:
        choice: the device asked for, or "auto" for cuda where it works and the CPU elsewhere.
        check: raises DeviceError for a device that does not work with the backend asked for.

    Raises:
        DeviceError: the device asked for does not work; nothing else takes its place.
    """
    if choice != "auto":
        check(choice)
        return choice
    try:
        check("cuda")
    except DeviceError as error:
        check("cpu")
        logger.info("device auto: cpu, because %s", error)
        return "cpu"
    logger.info("device auto: cuda, because it works here")
    return "cuda"
