"""The memory of a GPU, from a library that answers as NVIDIA's does."""

import pytest

from kohonen_tokenizer.service.errors import DeviceError
from kohonen_tokenizer.service.runtime import gpu_memory
from kohonen_tokenizer.service.runtime.gpu_memory import GpuMemory

BUS_ID = "00000000:3B:00.0"


class Library:
    """Knows one GPU."""

    def __init__(self, *, used: int) -> None:
        self.used = used
        self.is_lost = False

    def nvmlInit_v2(self) -> int:  # noqa: N802 (the library's name)
        return 0

    def nvmlDeviceGetHandleByPciBusId_v2(self, bus_id, handle) -> int:  # noqa: N802
        handle._obj.value = 7
        return 0 if bus_id == BUS_ID.encode() else 6

    def nvmlDeviceGetMemoryInfo(self, handle, memory) -> int:  # noqa: N802
        assert handle.value == 7
        memory._obj.total, memory._obj.free, memory._obj.used = 2**40, 2**40 - self.used, self.used
        return 15 if self.is_lost else 0


def test_it_tells_what_is_in_use():
    library = Library(used=3 * 2**33)
    memory = GpuMemory(library=library, bus_id=BUS_ID)
    assert memory.used_bytes() == 3 * 2**33
    library.used = 5
    assert memory.used_bytes() == 5


def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(DeviceError, match="reports error 6; look at nvidia-smi"):
        GpuMemory(library=Library(used=1), bus_id="00000000:00:00.0")


def test_a_gpu_that_is_lost_is_an_error():
    library = Library(used=1)
    memory = GpuMemory(library=library, bus_id=BUS_ID)
    library.is_lost = True
    with pytest.raises(DeviceError, match="error 15"):
        memory.used_bytes()


def test_a_machine_without_the_library_is_an_error(monkeypatch):
    monkeypatch.setattr(gpu_memory, "_LIBRARY", "libnothing.so.99")
    with pytest.raises(DeviceError, match=r"libnothing\.so\.99: .*; install all of NVIDIA's driver"):
        GpuMemory(bus_id=BUS_ID)
