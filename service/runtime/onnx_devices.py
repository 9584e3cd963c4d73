"""What onnxruntime can run on here, and why not: one check for each device, and what its sessions ask for."""

import contextlib
import ctypes
import importlib.util
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kohonen_tokenizer.install_command import install_command

from ..errors import DeviceError
from .buckets import BUCKETS
from .cuda import list_gpus
from .devices import Device
from .silent_onnxruntime import onnxruntime as ort
from .tensors import TensorGroup

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"

PROVIDERS: Mapping[Device, str] = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}
"""The provider that must run all of a graph, by device."""

_TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvonnxparser.so.10")
_TENSORRT_FIX = "install the wheels 'tensorrt-cu13<11' from NVIDIA's own package index"
_LOG_FATAL = 4


def check_device(device: Device) -> None:
    """Return if onnxruntime can run on `device` here, with the device's libraries loaded.

    Raises:
        DeviceError: it cannot, or there is no such device.
    """
    if device not in PROVIDERS:
        raise DeviceError(f'device is {device!r}; it must be "auto", "cpu", "cuda" or "tensorrt"')
    if device == "cpu":
        return
    _check_cuda(device)
    if device == "tensorrt":
        _load_tensorrt()


def unusable(device: Device, reason: object, *, fix: str = "look at nvidia-smi") -> DeviceError:
    """The error for a `device` that does not work for this reason."""
    return DeviceError(f'device "{device}" does not work here: {reason}; {fix}, or use device "cpu"')


def provider_options(device: Device, *, source: TensorGroup) -> list[tuple[str, dict[str, str]]]:
    """The providers of a session on `device` and their options, in order of preference.

    Float32 is float32: the search for the nearest code needs every bit of it, for TF32 and half precision
    would pick another code in every near-tie.
    """
    # Not the default search, which times every algorithm and may take another one, with other last bits, at
    # each start.
    cuda = (CUDA, {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"})
    match device:
        case "cpu":
            return [(CPU, {})]
        case "cuda":
            cuda[1]["enable_cuda_graph"] = "1"
            return [cuda]
        case "tensorrt":
            # TensorRT has no option for it, and reads this variable when an engine is built.
            os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
            sizes = {"min": BUCKETS[0], "opt": BUCKETS[-1], "max": BUCKETS[-1]}
            profiles = {
                f"trt_profile_{name}_shapes": ",".join(
                    f"{spec.name}:{'x'.join(map(str, (size, *spec.shape)))}" for spec in source.specs
                )
                for name, size in sizes.items()
            }
            # CUDA takes the operators that TensorRT has not.
            return [(TENSORRT, {"trt_fp16_enable": "0", **profiles}), cuda]


def _check_cuda(device: Device) -> None:
    """Load CUDA's libraries from the wheels of the `gpu` extra, where the system's loader does not look."""
    if PROVIDERS[device] not in ort.get_available_providers():
        reason = f"onnxruntime {ort.__version__} is built without {PROVIDERS[device]}"
        raise unusable(device, reason, fix="install onnxruntime-gpu in its place")
    try:
        list_gpus()
    except DeviceError as error:
        raise DeviceError(f'device "{device}" does not work here: {error}, or use device "cpu"') from None
    output = io.StringIO()
    with contextlib.redirect_stdout(output):  # it reports a missing library by print
        ort.preload_dlls(directory="")
    if output.getvalue():
        raise unusable(device, output.getvalue().splitlines()[0], fix=f"run: {install_command('gpu')}")
    # What goes wrong here is raised as an error; the log would say it a second time.
    ort.set_default_logger_severity(_LOG_FATAL)
    try:
        # The smallest thing for which it has to load its CUDA provider and reach the GPU.
        ort.OrtValue.ortvalue_from_shape_and_type([1], "uint8", "cuda", 0)
    except Exception as error:
        raise unusable(device, error) from None


def _load_tensorrt() -> None:
    """Load TensorRT's libraries from NVIDIA's wheel, or else from where the system's loader looks."""
    spec: Any = importlib.util.find_spec("tensorrt_libs")
    folder = Path(spec.submodule_search_locations[0]) if spec else Path()
    for name in _TENSORRT_LIBRARIES:
        try:
            ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise unusable("tensorrt", error, fix=_TENSORRT_FIX) from None
