"""Buffers on the host, and copies from a device to them, for graphs that onnxruntime runs there."""

import ctypes
import math
import weakref
from typing import Literal, Protocol

import numpy as np

from kohonen_tokenizer.install_command import install_command

from ..errors import DeviceError
from .silent_onnxruntime import onnxruntime as ort
from .tensors import Rows

_DEVICE_TO_HOST = 2  # cudaMemcpyDeviceToHost
_PORTABLE = 1  # cudaHostAllocPortable


class HostMemory(Protocol):
    """Where the buffers for one kind of device lie."""

    device: Literal["cpu", "cuda"]
    """Which onnxruntime calls the memory of."""

    def zeros(self, shape: tuple[int, ...], *, dtype: str) -> Rows:
        """A new buffer."""

    def fetch(self, value: ort.OrtValue, *, into: Rows) -> None:
        """Copy all of `value`, which is on the device, to a buffer of the same shape."""


class PageableMemory:
    """Plain memory, for a device that is the host itself."""

    device: Literal["cpu", "cuda"] = "cpu"

    def zeros(self, shape: tuple[int, ...], *, dtype: str) -> Rows:
        """See `HostMemory`."""
        return np.zeros(shape, dtype=dtype)

    def fetch(self, value: ort.OrtValue, *, into: Rows) -> None:
        """See `HostMemory`."""
        np.copyto(into, value.numpy())


class PinnedMemory:
    """Memory that stays where it is, so that the GPU copies from and to it by itself and at full speed."""

    device: Literal["cpu", "cuda"] = "cuda"

    def __init__(self, runtime: ctypes.CDLL) -> None:
        """Take CUDA's runtime library; `load_cuda_runtime` gives it."""
        self._runtime = runtime

    def zeros(self, shape: tuple[int, ...], *, dtype: str) -> Rows:
        """See `HostMemory`. The memory is freed with the array and its views.

        Raises:
            DeviceError: there is no more of such memory.
        """
        num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        pointer = ctypes.c_void_p()
        self._check(self._runtime.cudaHostAlloc(ctypes.byref(pointer), ctypes.c_size_t(num_bytes), _PORTABLE))
        assert pointer.value is not None
        owner = (ctypes.c_ubyte * num_bytes).from_address(pointer.value)
        weakref.finalize(owner, self._runtime.cudaFreeHost, pointer).atexit = False
        array: Rows = np.frombuffer(memoryview(owner), dtype=dtype).reshape(shape)
        array[...] = 0
        return array

    def fetch(self, value: ort.OrtValue, *, into: Rows) -> None:
        """See `HostMemory`.

        Raises:
            DeviceError: the GPU, or a computation before on it, failed.
        """
        source, target = ctypes.c_void_p(value.data_ptr()), ctypes.c_void_p(into.ctypes.data)
        self._check(self._runtime.cudaMemcpy(target, source, ctypes.c_size_t(into.nbytes), _DEVICE_TO_HOST))

    def _check(self, status: int) -> None:
        if status:
            reason = self._runtime.cudaGetErrorString(status).decode(errors="replace")
            raise DeviceError(f"CUDA failed: {reason}, error {status}; restart the service, see nvidia-smi")


def load_cuda_runtime() -> ctypes.CDLL:
    """CUDA's runtime library, of the version that onnxruntime uses and after its libraries were loaded.

    Raises:
        DeviceError: it is not there.
    """
    name = f"libcudart.so.{ort.cuda_version.split('.')[0]}"
    try:
        runtime = ctypes.CDLL(name)
    except OSError as error:
        raise DeviceError(f"{error}; run: {install_command('gpu')}") from None
    runtime.cudaGetErrorString.restype = ctypes.c_char_p
    return runtime
