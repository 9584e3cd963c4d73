import ctypes
import gc
from typing import Any

import numpy as np
import pytest

from kohonen_tokenizer.service.errors import DeviceError
from kohonen_tokenizer.service.runtime.host_memory import PageableMemory, PinnedMemory, load_cuda_runtime
from kohonen_tokenizer.service.runtime.silent_onnxruntime import onnxruntime as ort


class Runtime:
    """CUDA's runtime as the module calls it, with the host's memory for the GPU's."""

    def __init__(self) -> None:
        self.blocks: dict[int, Any] = {}
        self.status = 0

    def cudaHostAlloc(self, pointer: Any, size: Any, flags: int) -> int:  # noqa: N802
        assert flags == 1
        block = ctypes.create_string_buffer(b"\xff" * size.value, size.value)
        pointer._obj.value = ctypes.addressof(block)
        self.blocks[ctypes.addressof(block)] = block
        return self.status

    def cudaFreeHost(self, pointer: Any) -> int:  # noqa: N802
        del self.blocks[pointer.value]
        return 0

    def cudaMemcpy(self, target: Any, source: Any, size: Any, kind: int) -> int:  # noqa: N802
        assert kind == 2
        ctypes.memmove(target, source, size.value)
        return self.status

    def cudaGetErrorString(self, status: int) -> bytes:  # noqa: N802
        return f"failure {status}".encode()


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


def pinned(runtime: Runtime) -> PinnedMemory:
    library: Any = runtime
    return PinnedMemory(library)


def test_pinned_buffers_are_cudas_own_and_empty(runtime: Runtime) -> None:
    array = pinned(runtime).zeros((3, 2, 4), dtype="int32")
    assert (array.shape, array.dtype) == ((3, 2, 4), np.int32)
    assert not array.any()
    ((address, block),) = runtime.blocks.items()
    assert (array.ctypes.data, array.nbytes) == (address, len(block))
    array[2, 1, 3] = 7
    assert block.raw[-4:] == (7).to_bytes(4, "little")


def test_a_pinned_buffer_is_freed_with_its_last_view(runtime: Runtime) -> None:
    view = pinned(runtime).zeros((3, 2), dtype="uint8")[1:]
    gc.collect()
    assert len(runtime.blocks) == 1
    del view
    gc.collect()
    assert runtime.blocks == {}


@pytest.mark.parametrize("kind", ["pinned", "pageable"])
def test_results_are_fetched_into_the_buffer(runtime: Runtime, kind: str) -> None:
    memory = pinned(runtime) if kind == "pinned" else PageableMemory()
    expected = np.arange(24, dtype=np.int32).reshape(4, 3, 2)
    buffer = memory.zeros(expected.shape, dtype="int32")
    memory.fetch(ort.OrtValue.ortvalue_from_numpy(expected), into=buffer)
    np.testing.assert_array_equal(buffer, expected)


def test_what_cuda_says_is_passed_on(runtime: Runtime) -> None:
    memory = pinned(runtime)
    buffer = memory.zeros((1,), dtype="uint8")
    runtime.status = 2
    with pytest.raises(DeviceError, match="CUDA failed: failure 2, error 2; restart the service"):
        memory.zeros((1,), dtype="uint8")
    with pytest.raises(DeviceError, match="CUDA failed: failure 2"):
        memory.fetch(ort.OrtValue.ortvalue_from_numpy(np.zeros(1, np.uint8)), into=buffer)


def test_a_runtime_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "cuda_version", "99.1")
    with pytest.raises(DeviceError, match=r"^libcudart\.so\.99: .*; run: .*pip install .*\[gpu\]'$"):
        load_cuda_runtime()
