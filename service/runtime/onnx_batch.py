"""A session of onnxruntime bound to buffers of one batch size."""

from .host_memory import HostMemory
from .onnx_session import run_options
from .silent_onnxruntime import onnxruntime as ort
from .tensors import Rows, TensorGroup, TensorSpec


class BoundBatch:
    """A graph at one batch size, from and to buffers whose addresses never change.

    Attributes:
        source: the input rows on the host, [size, ...].
        target: the output rows on the host, [size, ...].
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        *,
        size: int,
        source: TensorGroup,
        target: TensorGroup,
        memory: HostMemory,
        cuda_graph: int | None,
    ) -> None:
        """Bind `session` to buffers for `size` rows.

        Args:
            session: on the device whose `memory` is given.
            size: rows of a run.
            source: its inputs.
            target: its outputs.
            memory: where the buffers of the host lie.
            cuda_graph: the number of the CUDA graph that the first run captures; None to capture none.
        """
        self._session = session
        self._memory = memory
        self._options = run_options(cuda_graph=cuda_graph)
        self._binding = session.io_binding()
        self._source, self._target = source, target
        self._inputs = [self._buffers(size, spec=spec) for spec in source.specs]
        self._outputs = [self._buffers(size, spec=spec) for spec in target.specs]
        # Of one tensor the rows are its own buffer; of several they are copied from and to theirs.
        self.source = source.pack([host for host, _ in self._inputs])
        self.target = target.pack([host for host, _ in self._outputs])
        for spec, (_, on_device) in zip(source.specs, self._inputs, strict=True):
            self._binding.bind_ortvalue_input(spec.name, on_device)
        for spec, (_, on_device) in zip(target.specs, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(spec.name, on_device)

    def run(self) -> None:
        """Compute `target` from `source`. On a GPU: copies and, from the second run on, one launch."""
        for (host, on_device), part in zip(self._inputs, self._source.unpack(self.source), strict=True):
            if host is not part:
                host[:] = part
            on_device.update_inplace(host)
        self._session.run_with_iobinding(self._binding, self._options)
        # A replay is launched, and may not be done.
        self._binding.synchronize_outputs()
        for (host, on_device), part in zip(self._outputs, self._target.unpack(self.target), strict=True):
            self._memory.fetch(on_device, into=host)
            if host is not part:
                part[:] = host

    def _buffers(self, size: int, *, spec: TensorSpec) -> tuple[Rows, ort.OrtValue]:
        shape = (size, *spec.shape)
        on_device = ort.OrtValue.ortvalue_from_shape_and_type(shape, spec.dtype, self._memory.device, 0)
        return self._memory.zeros(shape, dtype=spec.dtype), on_device
