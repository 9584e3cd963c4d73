"""A session of onnxruntime that fits the manifest, on the device asked for and on no other."""

import os

import numpy as np

from ..errors import GraphError
from .devices import Device
from .onnx_devices import PROVIDERS, provider_options, unusable
from .silent_onnxruntime import onnxruntime as ort
from .tensors import Rows, TensorGroup, TensorSpec

_LOG_FATAL = 4


def start_session(
    graph: bytes, *, file: str, device: Device, num_threads: int, source: TensorGroup, target: TensorGroup
) -> ort.InferenceSession:
    """Start `graph` on `device`, which works here, and run it once.

    Args:
        graph: an ONNX graph; `file` is its name in the bundle.
        device: what runs all of it.
        num_threads: threads of one operator on the CPU.
        source: its inputs, as the manifest has them.
        target: its outputs.

    Raises:
        DeviceError: the device does not take the graph; nothing else takes its place.
        GraphError: the graph does not load, does not fit the manifest, or does not run.
    """
    providers = provider_options(device, source=source)
    options = _session_options(num_threads, device=device)
    try:
        session = ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    except Exception as error:
        # A provider that fails raises RuntimeError; onnxruntime's errors about a graph are of its own types.
        if device != "cpu" and isinstance(error, RuntimeError):
            raise unusable(device, error) from None
        raise GraphError(f"{file} does not load ({error}); export the bundle again") from None
    if session.get_providers()[0] != PROVIDERS[device]:
        raise unusable(device, f"onnxruntime chose {session.get_providers()[0]}")
    try:
        _check_signature(session, file=file, source=source, target=target)
    except UnicodeDecodeError:
        raise GraphError(f"{file} names a dimension in no UTF-8; export the bundle again") from None
    _check_run(session, file=file, source=source, target=target)
    return session


def run_options(*, cuda_graph: int | None) -> ort.RunOptions:
    """Options of runs that capture and replay the CUDA graph of this number, from 1 on, or none."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(cuda_graph or -1))
    return options


def run_session(
    session: ort.InferenceSession, rows: Rows, *, source: TensorGroup, target: TensorGroup
) -> Rows:
    """The output rows of the input rows, in a batch of any size and without CUDA graphs."""
    feed = {
        spec.name: np.ascontiguousarray(tensor)
        for spec, tensor in zip(source.specs, source.unpack(rows), strict=True)
    }
    names = [spec.name for spec in target.specs]
    return target.pack(session.run(names, feed, run_options(cuda_graph=None)))


def _session_options(num_threads: int, *, device: Device) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # A spinning pool answers a little sooner and takes its CPUs from everything else while idle.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A graph may keep weights in other files, which nobody has hashed, and onnxruntime would look for them in
    # the working directory. Below a path that is no folder it finds none.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    if device != "cpu":
        # Otherwise an operator that the device has not would run on the CPU, with a copy there and back.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    # What goes wrong is raised as an error; the log would say it a second time.
    options.log_severity_level = _LOG_FATAL
    return options


def _check_signature(
    session: ort.InferenceSession, *, file: str, source: TensorGroup, target: TensorGroup
) -> None:
    for side, nodes, group in (
        ("input", session.get_inputs(), source),
        ("output", session.get_outputs(), target),
    ):
        if len(nodes) != len(group.specs) or not all(map(_fits, nodes, group.specs)):
            found = ", ".join(f"{node.name} {node.type} {node.shape}" for node in nodes)
            raise GraphError(
                f"{file}: {side} is {found}, and the manifest asks for {group}; export the bundle again"
            )


def _fits(node: ort.NodeArg, spec: TensorSpec) -> bool:
    """Whether `node` is this tensor; a dimension left open fits, a fixed batch does not."""
    batch, *dims = node.shape or [None]
    return (
        node.name == spec.name
        and node.type == f"tensor({spec.dtype})"
        and not isinstance(batch, int)
        and len(dims) == len(spec.shape)
        and all(not isinstance(dim, int) or dim == size for dim, size in zip(dims, spec.shape, strict=True))
    )


def _check_run(session: ort.InferenceSession, *, file: str, source: TensorGroup, target: TensorGroup) -> None:
    """Run one batch of zeros: what a graph declares may not be what it does.

    Two images, because a graph that was frozen to one would still take one.
    """
    try:
        result = run_session(session, source.zeros(2), source=source, target=target)
    except Exception as error:
        raise GraphError(f"{file} does not run on a batch of 2 ({error}); export the bundle again") from None
    if result.shape != (2, *target.shape):
        raise GraphError(
            f"{file}: output is {list(result.shape)} for a batch of 2, and the manifest asks for {target}; "
            "export the bundle again"
        )
