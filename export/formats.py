"""The formats that a graph is written in, each with the reader that shows what was written.

ONNX is what the service runs. TorchScript is for programs that load it today; PyTorch has deprecated it in
favor of torch.export, whose .pt2 stands beside it.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnx
import onnxscript.optimizer
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from kohonen_tokenizer.service.runtime.silent_onnxruntime import onnxruntime

from .graphs import EncoderGraph, Graph, only

OPSET = 20
"""Version of the standard ONNX operators in the graphs: onnxruntime reads it since 1.17."""

Runner = Callable[..., Tensor | tuple[Tensor, ...]]
"""A graph read back from its bytes, on the CPU: tensors in, one out, or a tuple of several."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CapturedGraph:
    """A graph and its capture by torch.export; a format starts from one or the other."""

    module: Graph
    program: ExportedProgram

    @classmethod
    def of(cls, module: Graph) -> CapturedGraph:
        """Capture ``module`` with a batch of any size."""
        shapes = _of_inputs(module, [{0: Dim("batch")}] * len(module.input_names))
        program = torch.export.export(module, module.example_inputs(), dynamic_shapes=shapes)
        for node in program.graph.nodes:
            # Both ONNX and .pt2 would publish where the sources lie on this machine.
            node.meta.pop("stack_trace", None)
        return cls(module=module, program=program)


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphFormat:
    """One way to write a graph."""

    name: str
    """Its key in the manifest's ``graphs``."""

    suffix: str
    """Its files are encoder.SUFFIX and decoder.SUFFIX."""

    write: Callable[[CapturedGraph], bytes]
    """The content of the graph's file."""

    read: Callable[[bytes], Runner]
    """The graph in such a file, ready to run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenGraphs:
    """Both graphs in one format."""

    format: GraphFormat
    encoder: bytes
    decoder: bytes


def write_onnx(graph: CapturedGraph) -> bytes:
    """One ONNX file with the weights inside, optimized and checked."""
    num_inputs = len(graph.module.input_names)
    exported = torch.onnx.export(
        graph.program,
        input_names=graph.module.input_names,
        output_names=graph.module.output_names,
        # One name for the batch of all inputs: they have the same symbol, and to name it twice is a warning.
        dynamic_shapes=_of_inputs(graph.module, [{0: Dim("batch")}] + [{}] * (num_inputs - 1)),
        opset_version=OPSET,
        dynamo=True,
        optimize=True,
        verbose=False,
    )
    assert exported is not None  # it is for the old exporter that the signature allows for None
    # What depends on the codebook alone, |w|^2 and the transpose, becomes a constant too; by itself the
    # optimizer leaves anything over 1,024 elements to be computed on each call.
    codebook_elements = max(graph.module.codebook(level).numel() for level in graph.module.latent_grids)
    onnxscript.optimizer.optimize(
        exported.model, input_size_limit=codebook_elements, output_size_limit=codebook_elements
    )
    model = exported.model_proto
    for item in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del item.metadata_props[:]  # the exporter's notes to itself
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def read_onnx(content: bytes) -> Runner:
    """The graph in an ONNX session on the CPU."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(*arrays: Tensor) -> Tensor | tuple[Tensor, ...]:
        feed = {name: array.numpy() for name, array in zip(names, arrays, strict=True)}
        return only(tuple(torch.from_numpy(result) for result in session.run(None, feed)))

    return run


def write_torchscript(graph: CapturedGraph) -> bytes:
    """A traced and frozen TorchScript program."""
    buffer = io.BytesIO()
    # The trace writes down for each convolution whether it may fall to TF32 on a GPU: never.
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False)
    with _torchscript_allowed(), exact:
        traced = torch.jit.trace(graph.module, graph.module.example_inputs())  # type: ignore[no-untyped-call]
        torch.jit.save(torch.jit.freeze(traced), buffer)
    return _without_debug_records(buffer)


def read_torchscript(content: bytes) -> Runner:
    """The TorchScript program, on the CPU."""
    with _torchscript_allowed():
        program: Runner = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    return program


def write_torch_export(graph: CapturedGraph) -> bytes:
    """A .pt2 archive of torch.export."""
    buffer = io.BytesIO()
    torch.export.save(graph.program, buffer)
    return buffer.getvalue()


def read_torch_export(content: bytes) -> Runner:
    """The module in a .pt2 archive."""
    module: Runner = torch.export.load(io.BytesIO(content)).module()
    return module


FORMATS = (
    GraphFormat(name="onnx", suffix="onnx", write=write_onnx, read=read_onnx),
    GraphFormat(name="torchscript", suffix="torchscript.pt", write=write_torchscript, read=read_torchscript),
    GraphFormat(name="torch_export", suffix="pt2", write=write_torch_export, read=read_torch_export),
)
"""Every format of a bundle, by the names of the manifest's ``graphs``."""


def _of_inputs(module: Graph, shapes: list[dict[int, Dim]]) -> tuple[object, ...]:
    """``shapes`` of the inputs, by the parameters of forward(): the decoder's is one, ``*tokens``."""
    return tuple(shapes) if isinstance(module, EncoderGraph) else (tuple(shapes),)


@contextmanager
def _torchscript_allowed() -> Iterator[None]:
    """Without the warning that TorchScript is deprecated: a bundle has it on purpose, with .pt2 beside it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated")
        yield


def _without_debug_records(archive: io.BytesIO) -> bytes:
    """The TorchScript archive without its .debug_pkl: it names the source files on this machine."""
    stripped = io.BytesIO()
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(stripped, "w") as target:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(name), source.read(name))
    return stripped.getvalue()
