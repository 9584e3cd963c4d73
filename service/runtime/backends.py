"""From a bundle and a device to the backend that runs the one on the other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kohonen_tokenizer.install_command import install_command

from ..errors import DeviceError
from . import onnx_devices
from .backend import Backend
from .bundle import Bundle
from .devices import Device, DeviceChoice, choose_device
from .manifest import GraphFormat
from .onnx_backend import OnnxBackend


def load_backend(bundle: Bundle, *, device: DeviceChoice = "cpu", num_threads: int | None = None) -> Backend:
    """The graphs of `bundle`, ready to run on `device` by the engine of their format.

    Args:
        bundle: a verified bundle, read for one format.
        device: what runs it, or "auto" for cuda where it works and the CPU elsewhere.
        num_threads: threads of one operator on the CPU; by default as many as this process may use.

    Raises:
        DeviceError: the device is unknown or does not work here, or the engine is not installed.
        GraphError: a graph does not load, does not fit the manifest, or does not run.
        ValueError: `num_threads` below 1.
    """
    chosen = choose_device(device, check=device_check(bundle.graph_format))
    if bundle.graph_format == "onnx":
        return OnnxBackend.load(bundle, device=chosen, num_threads=num_threads)
    with _naming_the_extra(bundle.graph_format):
        from .torch_backend import TorchBackend
    return TorchBackend.load(bundle, device=chosen, num_threads=num_threads)


def device_check(graph_format: GraphFormat) -> Callable[[Device], None]:
    """What raises DeviceError for a device on which graphs of this format cannot run here.

    Raises:
        DeviceError: no device will do, for the engine is not installed.
    """
    if graph_format == "onnx":
        return onnx_devices.check_device
    with _naming_the_extra(graph_format):
        from . import torch_backend
    return torch_backend.check_device


@contextmanager
def _naming_the_extra(graph_format: GraphFormat) -> Iterator[None]:
    # torch is imported only where it is asked for: it takes seconds, and the base install has none.
    try:
        yield
    except ModuleNotFoundError as error:
        raise DeviceError(
            f"backend {graph_format} needs {error.name}, which is not installed; "
            f"run: {install_command('torch')}, or use backend onnx"
        ) from None
