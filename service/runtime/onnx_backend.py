"""ONNX Runtime as the backend, on the CPU or on an NVIDIA GPU.

B batch, H W pixels, h w latent grid.
"""

import contextlib
import io
import os
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from kohonen_tokenizer.pixels import Pixels

from ..errors import DeviceError, GraphError
from .backend import Tokens
from .bundle import Bundle
from .silent_onnxruntime import onnxruntime as ort
from .threads import available_threads

Device = Literal["cpu", "cuda"]

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_LOG_FATAL = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class _TensorSpec:
    """A graph's only input or only output, as the manifest has it; the batch comes before `shape`."""

    name: str
    dtype: Literal["uint8", "int32"]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [B, {', '.join(map(str, self.shape))}]"

    def fits(self, node: ort.NodeArg) -> bool:
        """Whether `node` is this tensor; a dimension left open fits, a fixed batch does not."""
        batch, *dims = node.shape or [None]
        return (
            node.name == self.name
            and node.type == f"tensor({self.dtype})"
            and not isinstance(batch, int)
            and len(dims) == len(self.shape)
            and all(
                not isinstance(dim, int) or dim == size for dim, size in zip(dims, self.shape, strict=True)
            )
        )


class OnnxBackend:
    """A bundle's two ONNX graphs, each in a session of its own. Safe to call from several threads."""

    def __init__(self, encoder: ort.InferenceSession, *, decoder: ort.InferenceSession) -> None:
        """Take two sessions that fit one bundle; `load` makes them."""
        self._encoder = encoder
        self._decoder = decoder

    @classmethod
    def load(cls, bundle: Bundle, *, device: Device = "cpu", num_threads: int | None = None) -> Self:
        """Start the graphs of `bundle` on `device` and run each once.

        Args:
            bundle: a verified bundle.
            device: "cpu" or "cuda".
            num_threads: threads of one operator on the CPU; by default as many as this process may use.

        Raises:
            DeviceError: the device is unknown or does not work here; nothing else takes its place.
            GraphError: a graph does not load, does not fit the manifest, or does not run.
            ValueError: `num_threads` below 1.
        """
        if num_threads is not None and num_threads < 1:
            raise ValueError(f"num_threads is {num_threads}; it must be 1 or more")
        image, graphs = bundle.manifest.image, bundle.manifest.graphs.onnx
        pixels = _TensorSpec(name="pixels", dtype="uint8", shape=(image.height, image.width, image.channels))
        tokens = _TensorSpec(name="tokens", dtype="int32", shape=bundle.level.latent_grid)
        options = _session_options(num_threads or available_threads())
        if device == "cuda":
            _preload_cuda()
        elif device != "cpu":
            raise DeviceError(f'device is {device!r}; it must be "cpu" or "cuda"')
        sessions = []
        for file, graph, source, target in (
            (graphs.encoder, bundle.encoder, pixels, tokens),
            (graphs.decoder, bundle.decoder, tokens, pixels),
        ):
            session = _start(graph, file=file, device=device, options=options)
            _check_signature(session, file=file, source=source, target=target)
            _check_run(session, file=file, source=source, target=target)
            sessions.append(session)
        return cls(sessions[0], decoder=sessions[1])

    def encode(self, pixels: Pixels) -> Tokens:
        """Tokens int32 [B, h, w] of pixels uint8 [B, H, W, 3]."""
        tokens: Tokens = self._encoder.run(["tokens"], {"pixels": np.ascontiguousarray(pixels)})[0]
        return tokens

    def decode(self, tokens: Tokens) -> Pixels:
        """Pixels uint8 [B, H, W, 3] of tokens int32 [B, h, w]."""
        pixels: Pixels = self._decoder.run(["pixels"], {"tokens": np.ascontiguousarray(tokens)})[0]
        return pixels


def _session_options(num_threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # A spinning pool answers a little sooner and takes its CPUs from everything else while idle.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A graph may keep weights in other files, which nobody has hashed, and onnxruntime would look for them in
    # the working directory. Below a path that is no folder it finds none.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    # What goes wrong is raised as an error; the log would say it a second time.
    options.log_severity_level = _LOG_FATAL
    return options


def _preload_cuda() -> None:
    """Load CUDA's libraries from the wheels of the `gpu` extra, where the system's loader does not look."""
    if _CUDA not in ort.get_available_providers():
        raise _no_cuda("this build of onnxruntime has no CUDA provider")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):  # it reports a missing library by print
        ort.preload_dlls(directory="")
    if output.getvalue():
        raise _no_cuda(output.getvalue().splitlines()[0])


def _no_cuda(reason: str) -> DeviceError:
    return DeviceError(
        f'device "cuda" does not work here ({reason}); install the driver of an NVIDIA GPU and '
        '"kohonen-tokenizer[gpu]", or use device "cpu"'
    )


def _start(graph: bytes, *, file: str, device: Device, options: ort.SessionOptions) -> ort.InferenceSession:
    # The search for the nearest code needs all of float32: TF32 would pick another one in every near-tie.
    providers = [(_CUDA, {"use_tf32": "0"})] if device == "cuda" else [(_CPU, {})]
    try:
        session = ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    except Exception as error:
        # A provider that fails raises RuntimeError; onnxruntime's errors about a graph are of its own types.
        if device == "cuda" and isinstance(error, RuntimeError):
            raise _no_cuda(str(error)) from None
        raise GraphError(f"{file} does not load ({error}); export the bundle again") from None
    if session.get_providers()[0] != providers[0][0]:
        raise _no_cuda(f"onnxruntime chose {session.get_providers()[0]}")
    return session


def _check_signature(
    session: ort.InferenceSession, *, file: str, source: _TensorSpec, target: _TensorSpec
) -> None:
    for side, nodes, spec in (
        ("input", session.get_inputs(), source),
        ("output", session.get_outputs(), target),
    ):
        if len(nodes) != 1 or not spec.fits(nodes[0]):
            found = ", ".join(f"{node.name} {node.type} {node.shape}" for node in nodes)
            raise GraphError(
                f"{file}: {side} is {found}, and the manifest asks for {spec}; export the bundle again"
            )


def _check_run(session: ort.InferenceSession, *, file: str, source: _TensorSpec, target: _TensorSpec) -> None:
    """Run one batch of zeros: what a graph declares may not be what it does.

    Two images, because a graph that was frozen to one would still take one.
    """
    batch = np.zeros((2, *source.shape), dtype=source.dtype)
    try:
        result = session.run([target.name], {source.name: batch})[0]
    except Exception as error:
        raise GraphError(f"{file} does not run on a batch of 2 ({error}); export the bundle again") from None
    if result.shape != (2, *target.shape):
        raise GraphError(
            f"{file}: output is {list(result.shape)} for a batch of 2, and the manifest asks for {target}; "
            "export the bundle again"
        )
