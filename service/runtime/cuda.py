"""The GPUs that this process sees, asked of NVIDIA's driver itself: no library of CUDA is needed for that."""

import ctypes
from dataclasses import dataclass
from functools import cache

from ..errors import DeviceError

_DRIVER = "libcuda.so.1"
_NO_DEVICE = 100
_NAME_BYTES = 256


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, in the order and number of CUDA_VISIBLE_DEVICES."""

    name: str
    memory_bytes: int


def list_gpus() -> list[Gpu]:
    """The GPUs that CUDA can use in this process, at least one. The first is the one that is used.

    A child that is forked after this call cannot use CUDA.

    Raises:
        DeviceError: no driver, or no GPU that it shows.
    """
    driver = _load_driver()
    count = ctypes.c_int()
    _check(driver, driver.cuInit(0))
    _check(driver, driver.cuDeviceGetCount(ctypes.byref(count)))
    gpus = []
    for index in range(count.value):
        handle, size = ctypes.c_int(), ctypes.c_size_t()
        name = ctypes.create_string_buffer(_NAME_BYTES)
        _check(driver, driver.cuDeviceGet(ctypes.byref(handle), index))
        _check(driver, driver.cuDeviceGetName(name, _NAME_BYTES, handle))
        _check(driver, driver.cuDeviceTotalMem_v2(ctypes.byref(size), handle))
        gpus.append(Gpu(name.value.decode(errors="replace"), size.value))
    if not gpus:
        raise _no_gpu("the driver shows no GPU")
    return gpus


def pci_bus_id() -> str:
    """Where the first GPU that CUDA can use in this process is, as nvidia-smi has it: "00000000:3B:00.0".

    Raises:
        DeviceError: no driver, or no GPU that it shows.
    """
    driver = _load_driver()
    handle = ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _check(driver, driver.cuInit(0))
    _check(driver, driver.cuDeviceGet(ctypes.byref(handle), 0))
    _check(driver, driver.cuDeviceGetPCIBusId(name, _NAME_BYTES, handle))
    return name.value.decode()


@cache
def _load_driver() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise DeviceError(
            f"there is no NVIDIA driver ({error}); install one, or start the container with its GPUs"
        ) from None


def _check(driver: ctypes.CDLL, status: int) -> None:
    if status == _NO_DEVICE:
        raise _no_gpu("the driver shows no GPU")
    if status:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        reason = (text.value or b"unknown").decode(errors="replace")
        raise _no_gpu(f"the driver says: {reason}, error {status}")


def _no_gpu(reason: str) -> DeviceError:
    return DeviceError(f"{reason}; look at nvidia-smi and at CUDA_VISIBLE_DEVICES")
