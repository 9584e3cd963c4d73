import ctypes
from collections.abc import Sequence
from typing import Any

import pytest

from kohonen_tokenizer.service.errors import DeviceError
from kohonen_tokenizer.service.runtime import cuda
from kohonen_tokenizer.service.runtime.cuda import Gpu, list_gpus


class Driver:
    """NVIDIA's driver as the module calls it, with these GPUs."""

    def __init__(self, gpus: Sequence[Gpu] = (), *, init_status: int = 0) -> None:
        self._gpus = gpus
        self._init_status = init_status

    def cuInit(self, flags: int) -> int:  # noqa: N802
        assert flags == 0
        return self._init_status

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self._gpus)
        return 0

    def cuDeviceGet(self, handle: Any, index: int) -> int:  # noqa: N802
        handle._obj.value = 10 + index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, handle: Any) -> int:  # noqa: N802
        assert len(name) == size
        name.value = self._gpus[handle.value - 10].name.encode()
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, handle: Any) -> int:  # noqa: N802
        size._obj.value = self._gpus[handle.value - 10].memory_bytes
        return 0

    def cuGetErrorString(self, status: int, text: Any) -> int:  # noqa: N802
        if status != 803:
            return 1
        text._obj.value = b"unsupported driver"
        return 0


def use_driver(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> None:
    monkeypatch.setattr(cuda, "_load_driver", lambda: driver)


def test_gpus_are_listed_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [Gpu("NVIDIA H100", 80 * 2**30), Gpu("NVIDIA T4", 16 * 2**30)]
    use_driver(monkeypatch, Driver(gpus))
    assert list_gpus() == gpus


@pytest.mark.parametrize("driver", [Driver(), Driver(init_status=100)])
def test_a_driver_that_shows_no_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> None:
    use_driver(monkeypatch, driver)
    with pytest.raises(DeviceError, match="shows no GPU; look at nvidia-smi and at CUDA_VISIBLE_DEVICES"):
        list_gpus()


@pytest.mark.parametrize(("status", "reason"), [(803, "unsupported driver"), (7, "unknown")])
def test_what_the_driver_says_is_passed_on(monkeypatch: pytest.MonkeyPatch, status: int, reason: str) -> None:
    use_driver(monkeypatch, Driver(init_status=status))
    with pytest.raises(DeviceError, match=f"the driver says: {reason}, error {status}; look"):
        list_gpus()


def test_without_a_driver_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: no such file")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    with pytest.raises(DeviceError, match=r"no NVIDIA driver \(libcuda\.so\.1: no such file\); install one"):
        cuda._load_driver.__wrapped__()
