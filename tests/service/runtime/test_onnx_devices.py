import ctypes
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import pytest

from kohonen_tokenizer.service.errors import DeviceError
from kohonen_tokenizer.service.runtime import onnx_devices
from kohonen_tokenizer.service.runtime.cuda import Gpu
from kohonen_tokenizer.service.runtime.manifest import ImageSpec
from kohonen_tokenizer.service.runtime.onnx_devices import check_device, provider_options
from kohonen_tokenizer.service.runtime.silent_onnxruntime import onnxruntime as ort
from kohonen_tokenizer.service.runtime.tensors import pixels_group

PIXELS = pixels_group(ImageSpec(height=8, width=8))
ALL = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
USE_CPU = 'or use device "cpu"$'


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which CUDA works, as far as onnxruntime is asked."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ALL)
    monkeypatch.setattr(onnx_devices, "list_gpus", lambda: [Gpu("a GPU", 2**30)])
    monkeypatch.setattr(ort, "preload_dlls", lambda *, directory: None)
    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_shape_and_type", lambda *args: None)


def fail_with(error: Exception) -> Callable[..., Any]:
    def fail(*args: object, **options: object) -> Any:
        raise error

    return fail


def test_the_cpu_always_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_devices, "list_gpus", fail_with(AssertionError("nobody asked for a GPU")))
    check_device("cpu")


def test_an_unknown_device_is_refused() -> None:
    device: Any = "tpu"
    with pytest.raises(
        DeviceError, match='device is \'tpu\'; it must be "auto", "cpu", "cuda" or "tensorrt"'
    ):
        check_device(device)


@pytest.mark.usefixtures("cuda")
class TestCuda:
    def test_it_is_usable_where_nothing_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        probed = []
        monkeypatch.setattr(
            ort.OrtValue, "ortvalue_from_shape_and_type", lambda *args: probed.append(args) or None
        )
        check_device("cuda")
        assert probed == [([1], "uint8", "cuda", 0)]

    @pytest.mark.parametrize(
        ("device", "provider"),
        [("cuda", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider")],
    )
    def test_an_onnxruntime_without_the_provider(
        self, monkeypatch: pytest.MonkeyPatch, device: Any, provider: str
    ) -> None:
        monkeypatch.setattr(
            ort, "get_available_providers", lambda: [name for name in ALL if name != provider]
        )
        with pytest.raises(
            DeviceError, match=f'^device "{device}" .* is built without {provider}; .*{USE_CPU}'
        ):
            check_device(device)

    def test_no_driver_or_no_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(onnx_devices, "list_gpus", fail_with(DeviceError("no GPU; look for it")))
        message = f'^device "cuda" does not work here: no GPU; look for it, {USE_CPU}'
        with pytest.raises(DeviceError, match=message):
            check_device("cuda")

    def test_a_library_that_is_missing(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def preload(*, directory: str) -> None:
            assert directory == ""
            print("Failed to load libcurand.so.10: cannot open shared object file")
            print("Please follow the instructions.")

        monkeypatch.setattr(ort, "preload_dlls", preload)
        with pytest.raises(
            DeviceError, match=rf"here: Failed to load libcurand.* file; run: .*\[gpu\].*{USE_CPU}"
        ):
            check_device("cuda")
        assert capfd.readouterr().out == ""

    def test_a_provider_that_does_not_reach_the_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        error = RuntimeError("CUDA failure 2: out of memory")
        monkeypatch.setattr(ort.OrtValue, "ortvalue_from_shape_and_type", fail_with(error))
        with pytest.raises(
            DeviceError, match=f"CUDA failure 2: out of memory; look at nvidia-smi, {USE_CPU}"
        ):
            check_device("cuda")

    def test_tensorrt_without_its_libraries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(
            DeviceError, match=rf"libnvinfer\.so\.10.*'tensorrt-cu13<11' from NVIDIA.*{USE_CPU}"
        ):
            check_device("tensorrt")

    def test_tensorrt_loads_its_libraries_from_the_wheel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Spec:
            submodule_search_locations = ("/wheel",)

        loaded = []
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: {"tensorrt_libs": Spec}[name])
        monkeypatch.setattr(ctypes, "CDLL", lambda path, mode: loaded.append((path, mode)))
        check_device("tensorrt")
        assert loaded == [
            (f"/wheel/{name}", ctypes.RTLD_GLOBAL) for name in ("libnvinfer.so.10", "libnvonnxparser.so.10")
        ]


def test_a_gpu_computes_in_float32_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    ((name, options),) = provider_options("cuda", source=PIXELS)
    assert name == "CUDAExecutionProvider"
    assert (options["use_tf32"], options["enable_cuda_graph"]) == ("0", "1")
    (name, options), (second, second_options) = provider_options("tensorrt", source=PIXELS)
    assert (name, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert (options["trt_fp16_enable"], second_options["use_tf32"]) == ("0", "0")
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    # A capture needs all of the graph on CUDA.
    assert "enable_cuda_graph" not in second_options


def test_tensorrt_builds_one_engine_for_all_batch_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    (_, options), _ = provider_options("tensorrt", source=PIXELS)
    assert {name: shape for name, shape in options.items() if "profile" in name} == {
        "trt_profile_min_shapes": "pixels:1x8x8x3",
        "trt_profile_opt_shapes": "pixels:64x8x8x3",
        "trt_profile_max_shapes": "pixels:64x8x8x3",
    }
