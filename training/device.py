"""The device that a command is told to use."""

from __future__ import annotations

import re

import torch

from .errors import ConfigError


def torch_device(name: str) -> torch.device:
    """The device of that name, set to true float32. Raises ConfigError if it is not usable here."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError(f"device {name!r}: must be cpu, cuda or cuda:N")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r}: not usable here ({reason}); use cpu") from None
    # The recipe is fp32, and torch lets convolutions use TF32 unless told otherwise.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return device
