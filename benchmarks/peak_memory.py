"""How much memory a call needs at its peak, beyond what was there before it."""

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import torch

MIB = 2**20


def peak_memory_mib(call: Callable[[], object], *, device: torch.device) -> float:
    """MiB that ``call`` adds at its peak: of the device's allocator, or of this process on a CPU (Linux)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    # What the C library keeps for later would be used unseen, so that it is given back first.
    ctypes.CDLL(None).malloc_trim(0)
    # 5 sets the peak back to what is resident now: proc_pid_clear_refs(5).
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_kib("VmRSS")
    call()
    return (_status_kib("VmHWM") - before) * 1024 / MIB


def _status_kib(key: str) -> int:
    (value,) = re.findall(rf"^{key}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    return int(value)
