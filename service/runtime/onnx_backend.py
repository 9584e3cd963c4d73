"""ONNX Runtime as the backend, on the CPU or on an NVIDIA GPU."""

from typing import Self

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
from .cuda import list_gpus
from .devices import Device
from .gpu_thread import GpuThread
from .host_memory import HostMemory, PinnedMemory, load_cuda_runtime
from .onnx_batch import BoundBatch
from .onnx_devices import PROVIDERS, check_device
from .onnx_session import run_session, start_session
from .silent_onnxruntime import onnxruntime as ort
from .tensors import Rows, TensorGroup, pixels_group, tokens_group


class OnnxBackend(GraphBackend):
    """A bundle's two ONNX graphs, each in a session of its own. Safe to call from several threads."""

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        *,
        device: Device = "cpu",
        num_threads: int | None = None,
        cuda_graphs: bool = True,
    ) -> Self:
        """Start the graphs of `bundle` on `device` and run each once, on a GPU at each size of a batch.

        Args:
            bundle: a verified bundle, read for the format "onnx".
            device: "cpu", "cuda" or "tensorrt".
            num_threads: threads of one operator on the CPU; by default as many as this process may use.
            cuda_graphs: capture a graph for each bucket on the device "cuda"; without, a run launches every
                kernel anew: to compare with.

        Raises:
            DeviceError: the device is unknown or does not work here; nothing else takes its place.
            GraphError: a graph does not load, does not fit the manifest, or does not run.
            ValueError: `num_threads` below 1.
        """
        num_threads = count_cpu_threads(num_threads)
        check_device(device)
        engine = f"onnxruntime {ort.__version__}, {PROVIDERS[device]}"
        if device == "cpu":
            encoder, decoder = (
                _unbound(session, source=source, target=target)
                for session, source, target in _start_sessions(bundle, device=device, num_threads=num_threads)
            )
            return cls(
                encoder,
                decoder=decoder,
                description=f"{engine}, {describe_threads(num_threads)}",
                is_on_cpu=True,
                num_parallel_runs=count_cpu_runs(num_threads),
                max_batch_size=IMAGES_PER_THREAD * num_threads,
            )
        # The captures of TensorRT's provider know one batch size only.
        with_graphs = cuda_graphs and device == "cuda"
        memory = PinnedMemory(load_cuda_runtime())
        thread = GpuThread()

        def prepare() -> list[Graph]:
            return [
                _bound(session, source=source, target=target, memory=memory, with_graphs=with_graphs)
                for session, source, target in _start_sessions(bundle, device=device, num_threads=num_threads)
            ]

        encoder, decoder = (thread.wrap(graph) for graph in thread.load(prepare))
        return cls(
            encoder,
            decoder=decoder,
            description=f"{engine} on {list_gpus()[0].name}, {'CUDA graphs for ' if with_graphs else ''}"
            f"batches of {', '.join(map(str, BUCKETS))}",
            is_on_cpu=False,
            num_parallel_runs=1,
            max_batch_size=BUCKETS[-1],
        )


def _start_sessions(
    bundle: Bundle, *, device: Device, num_threads: int
) -> list[tuple[ort.InferenceSession, TensorGroup, TensorGroup]]:
    """The encoder and the decoder, each with its inputs and its outputs."""
    pixels, tokens = pixels_group(bundle.manifest.image), tokens_group(bundle.manifest.levels)
    return [
        (
            start_session(
                graph, file=file, device=device, num_threads=num_threads, source=source, target=target
            ),
            source,
            target,
        )
        for file, graph, source, target in (
            (bundle.graph_files.encoder, bundle.encoder, pixels, tokens),
            (bundle.graph_files.decoder, bundle.decoder, tokens, pixels),
        )
    ]


def _unbound(session: ort.InferenceSession, *, source: TensorGroup, target: TensorGroup) -> Graph:
    """The graph for batches of any size, each run as it is."""

    def run(rows: Rows) -> Rows:
        return run_session(session, rows, source=source, target=target)

    return run


def _bound(
    session: ort.InferenceSession,
    *,
    source: TensorGroup,
    target: TensorGroup,
    memory: HostMemory,
    with_graphs: bool,
) -> BucketedGraph:
    """The graph for batches of any size, run in buckets, each with a CUDA graph if they are wanted."""
    return BucketedGraph(
        [
            BoundBatch(
                session,
                size=size,
                source=source,
                target=target,
                memory=memory,
                cuda_graph=number if with_graphs else None,
            )
            for number, size in enumerate(BUCKETS, start=1)
        ]
    )
