"""How much memory of the GPU is in use, asked of NVIDIA's management library, which the driver brings.

It needs no context of CUDA, and so does not disturb a capture that is under way.
"""

import ctypes
from typing import Any

from ..errors import DeviceError
from .cuda import pci_bus_id

_LIBRARY = "libnvidia-ml.so.1"


class _Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class GpuMemory:
    """The memory of the GPU that this process uses, with what other processes have of it.

    Attributes:
        bus_id: which GPU, as nvidia-smi has it: "00000000:3B:00.0".
    """

    def __init__(self, *, library: Any = None, bus_id: str | None = None) -> None:
        """Open the library.

        Args:
            library: instead of NVIDIA's own.
            bus_id: instead of the first GPU that this process sees.

        Raises:
            DeviceError: there is no such library or GPU.
        """
        self.bus_id = bus_id or pci_bus_id()
        try:
            self._library = library or ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise DeviceError(
                f"{error}; install all of NVIDIA's driver, or mount it into the container"
            ) from None
        self._handle = ctypes.c_void_p()
        _check(self._library.nvmlInit_v2())
        _check(
            self._library.nvmlDeviceGetHandleByPciBusId_v2(self.bus_id.encode(), ctypes.byref(self._handle))
        )

    def used_bytes(self) -> int:
        """Bytes in use.

        Raises:
            DeviceError: the GPU is lost.
        """
        memory = _Memory()
        _check(self._library.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(memory)))
        return int(memory.used)


def _check(status: int) -> None:
    if status:
        raise DeviceError(f"NVIDIA's management library reports error {status}; look at nvidia-smi")
