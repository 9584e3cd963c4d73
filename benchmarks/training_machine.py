"""The device and the versions that a result of training belongs to."""

import sys
from typing import Any

import torch

from .machine import describe_machine, versions_of

_PACKAGES = ("kohonen-tokenizer", "torch", "vector-quantize-pytorch")


def describe_training_machine(device: torch.device) -> dict[str, Any]:
    """What `describe_machine` says, for `device` and with the versions that training depends on."""
    machine = describe_machine() | {
        "versions": versions_of(_PACKAGES, path=sys.path),
        "torch_threads": torch.get_num_threads(),
    }
    return machine | ({"device": torch.cuda.get_device_name(device)} if device.type == "cuda" else {})
