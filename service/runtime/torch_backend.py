"""PyTorch as the backend, for a bundle's TorchScript and torch.export graphs, on the CPU or on an NVIDIA GPU.

Both formats can hold code that runs when they are loaded: use bundles that you trust. What is loaded are the
bytes whose hashes were checked, never a file. This is the only module of the service that imports torch.
"""

import io
import warnings
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from ..errors import DeviceError, GraphError
from .backend import (
    IMAGES_PER_THREAD,
    Graph,
    GraphBackend,
    count_cpu_runs,
    count_cpu_threads,
    describe_threads,
)
from .buckets import BUCKETS, BucketedGraph
from .bundle import Bundle
from .devices import Device
from .gpu_thread import GpuThread, exclusive_gpu
from .manifest import GraphFormat
from .tensors import Rows, TensorGroup, TensorSpec, pixels_group, tokens_group

_WARM_UP_RUNS = 3
"""Runs before a capture: TorchScript compiles on the first two."""


def check_device(device: Device) -> None:
    """Return if torch can run on `device` here.

    Raises:
        DeviceError: it cannot, or there is no such device.
    """
    if device not in ("cpu", "cuda"):
        raise DeviceError(f'device is {device!r}; a backend of torch takes "cpu" or "cuda"')
    if device == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda
        reason = f"torch {torch.__version__} " + (
            f"is built for CUDA {built} and finds no GPU" if built else "is built without CUDA"
        )
        raise DeviceError(
            f'device "cuda" does not work here: {reason}; install the driver of an NVIDIA GPU and a torch '
            'with CUDA, or use device "cpu"'
        )


class TorchBackend(GraphBackend):
    """A bundle's two graphs in one of torch's formats. Safe to call from several threads."""

    @classmethod
    def load(cls, bundle: Bundle, *, device: Device = "cpu", num_threads: int | None = None) -> Self:
        """Load the graphs of `bundle` on `device` and run each once, on a GPU at each size of a batch.

        Args:
            bundle: a verified and trusted bundle, read for the format "torchscript" or "torch_export".
            device: "cpu" or "cuda".
            num_threads: threads of one operator on the CPU; torch has one such number for the whole process.

        Raises:
            DeviceError: the device is unknown or does not work here; nothing else takes its place.
            GraphError: a graph does not load, does not fit the manifest, or does not run.
            ValueError: `num_threads` below 1.
        """
        num_threads = count_cpu_threads(num_threads)
        check_device(device)
        engine = f"torch {torch.__version__}, {bundle.graph_format}"
        if device == "cpu":
            torch.set_num_threads(num_threads)
            encoder, decoder = (
                _unbound(module, source=source, target=target)
                for module, source, target in _load_modules(bundle, device=torch.device("cpu"))
            )
            return cls(
                encoder,
                decoder=decoder,
                description=f"{engine} on the CPU, {describe_threads(num_threads)}",
                is_on_cpu=True,
                num_parallel_runs=count_cpu_runs(num_threads),
                max_batch_size=IMAGES_PER_THREAD * num_threads,
            )
        torch.set_float32_matmul_precision("highest")
        thread = GpuThread()

        def prepare() -> list[Graph]:
            return [
                BucketedGraph(
                    [CapturedBatch(module, size=size, source=source, target=target) for size in BUCKETS]
                )
                for module, source, target in _load_modules(bundle, device=torch.device("cuda"))
            ]

        encoder, decoder = (thread.wrap(graph) for graph in thread.load(prepare))
        return cls(
            encoder,
            decoder=decoder,
            description=f"{engine} on {torch.cuda.get_device_name()}, CUDA graphs for batches of "
            f"{', '.join(map(str, BUCKETS))}",
            is_on_cpu=False,
            num_parallel_runs=1,
            max_batch_size=BUCKETS[-1],
        )


class CapturedBatch:
    """A graph at one batch size, captured as a CUDA graph on a GPU, from and to buffers that never move.

    Attributes:
        source: the input rows on the host, [size, ...].
        target: the output rows on the host, [size, ...].
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        size: int,
        source: TensorGroup,
        target: TensorGroup,
        device: str = "cuda",
    ) -> None:
        """Take a `module` on `device`; on "cpu" nothing is captured and each run calls it."""
        self._module = module
        self._source, self._target = source, target
        self._inputs = [_buffers(size, spec=spec, device=device) for spec in source.specs]
        self._outputs = [_buffers(size, spec=spec, device=device) for spec in target.specs]
        # Of one tensor the rows are its own buffer; of several they are copied from and to theirs.
        self.source = source.pack([host.numpy() for host, _ in self._inputs])
        self.target = target.pack([host.numpy() for host, _ in self._outputs])
        self._results = [on_device for _, on_device in self._outputs]
        self._cuda_graph = self._capture() if device == "cuda" else None

    @torch.inference_mode()
    def run(self) -> None:
        """Compute `target` from `source`. On a GPU: copies there and back, and one launch."""
        parts = self._source.unpack(self.source)
        for (host, on_device), part in zip(self._inputs, parts, strict=True):
            if len(parts) > 1:
                host.numpy()[:] = part
            on_device.copy_(host, non_blocking=True)
        if self._cuda_graph is None:
            self._results = self._call()
        else:
            self._cuda_graph.replay()
        for (host, _), result in zip(self._outputs, self._results, strict=True):
            host.copy_(result, non_blocking=True)
        if self._cuda_graph is not None:
            torch.cuda.current_stream().synchronize()
        if len(self._outputs) > 1:
            for (host, _), part in zip(self._outputs, self._target.unpack(self.target), strict=True):
                part[:] = host.numpy()

    def _call(self) -> list[Tensor]:
        return _tensors(self._module(*(on_device for _, on_device in self._inputs)))

    @torch.inference_mode()
    def _capture(self) -> torch.cuda.CUDAGraph:
        # Kernels are captured, hence TF32 must be off for the convolutions here and nowhere else.
        with exclusive_gpu, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP_RUNS):
                    self._call()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._results = self._call()
        return graph


def _buffers(size: int, *, spec: TensorSpec, device: str) -> tuple[Tensor, Tensor]:
    """One on the host and one on the device."""
    dtype = getattr(torch, spec.dtype)
    host = torch.zeros((size, *spec.shape), dtype=dtype, pin_memory=device == "cuda")
    return host, host.to(device, copy=True)


def _tensors(result: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _unbound(module: nn.Module, *, source: TensorGroup, target: TensorGroup) -> Graph:
    """The graph for batches of any size on the CPU, each run as it is."""

    @torch.inference_mode()
    def run(rows: Rows) -> Rows:
        # torch takes no arrays that may not be written to, such as those that view a request's body.
        inputs = [np.require(tensor, requirements=["C", "W"]) for tensor in source.unpack(rows)]
        return target.pack([tensor.numpy() for tensor in _tensors(module(*map(torch.from_numpy, inputs)))])

    return run


def _load_modules(
    bundle: Bundle, *, device: torch.device
) -> list[tuple[nn.Module, TensorGroup, TensorGroup]]:
    """The encoder and the decoder on `device`, each with its inputs and its outputs."""
    pixels, tokens = pixels_group(bundle.manifest.image), tokens_group(bundle.manifest.levels)
    modules = []
    for file, graph, source, target in (
        (bundle.graph_files.encoder, bundle.encoder, pixels, tokens),
        (bundle.graph_files.decoder, bundle.decoder, tokens, pixels),
    ):
        try:
            module = _load_module(graph, graph_format=bundle.graph_format, device=device)
        except Exception as error:  # torch raises whatever its parsers raise
            raise GraphError(f"{file} does not load ({error}); export the bundle again") from None
        _check_run(module, file=file, source=source, target=target, device=device)
        modules.append((module, source, target))
    return modules


def _load_module(graph: bytes, *, graph_format: GraphFormat, device: torch.device) -> nn.Module:
    content = io.BytesIO(graph)
    if graph_format == "torch_export":
        module: nn.Module = move_to_device_pass(torch.export.load(content), device).module()
        return module
    with warnings.catch_warnings():
        # TorchScript is deprecated, and in a bundle on purpose: whoever asks for it knows.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.load` is deprecated")
        scripted: nn.Module = torch.jit.load(content, map_location=device)  # type: ignore[no-untyped-call]
    return scripted


@torch.inference_mode()
def _check_run(
    module: nn.Module, *, file: str, source: TensorGroup, target: TensorGroup, device: torch.device
) -> None:
    """Run a batch of two zeros: these formats declare neither names nor shapes."""
    try:
        inputs = [torch.from_numpy(tensor).to(device) for tensor in source.unpack(source.zeros(2))]
        result = module(*inputs)
    except Exception as error:
        raise GraphError(f"{file} does not run on a batch of 2 ({error}); export the bundle again") from None
    if isinstance(result, Tensor | tuple):
        found = ", ".join(f"{tensor.dtype} {list(tensor.shape)}" for tensor in _tensors(result))
    else:
        found = type(result).__name__
    if found != ", ".join(f"torch.{spec.dtype} {[2, *spec.shape]}" for spec in target.specs):
        raise GraphError(
            f"{file}: output is {found} for a batch of 2, and the manifest asks for {target}; "
            "export the bundle again"
        )
