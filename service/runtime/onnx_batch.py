"""A session of onnxruntime bound to buffers of one batch size."""

from .host_memory import HostMemory
from .onnx_session import run_options
from .silent_onnxruntime import onnxruntime as ort
from .tensors import Rows, TensorSpec


class BoundBatch:
    """A graph at one batch size, from and to buffers whose addresses never change.

    Attributes:
        source: the input on the host, [size, ...].
        target: the output on the host, [size, ...].
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        *,
        size: int,
        source: TensorSpec,
        target: TensorSpec,
        memory: HostMemory,
        cuda_graph: int | None,
    ) -> None:
        """Bind `session` to buffers for `size` rows.

        Args:
            session: on the device whose `memory` is given.
            size: rows of a run.
            source: its input.
            target: its output.
            memory: where the buffers of the host lie.
            cuda_graph: the number of the CUDA graph that the first run captures; None to capture none.
        """
        self._session = session
        self._memory = memory
        self._options = run_options(cuda_graph=cuda_graph)
        self._binding = session.io_binding()
        self.source, self._device_source = self._buffers(size, spec=source)
        self.target, self._device_target = self._buffers(size, spec=target)
        self._binding.bind_ortvalue_input(source.name, self._device_source)
        self._binding.bind_ortvalue_output(target.name, self._device_target)

    def run(self) -> None:
        """Compute `target` from `source`. On a GPU: two copies and, from the second run on, one launch."""
        self._device_source.update_inplace(self.source)
        self._session.run_with_iobinding(self._binding, self._options)
        # A replay is launched, and may not be done.
        self._binding.synchronize_outputs()
        self._memory.fetch(self._device_target, into=self.target)

    def _buffers(self, size: int, *, spec: TensorSpec) -> tuple[Rows, ort.OrtValue]:
        shape = (size, *spec.shape)
        on_device = ort.OrtValue.ortvalue_from_shape_and_type(shape, spec.dtype, self._memory.device, 0)
        return self._memory.zeros(shape, dtype=spec.dtype), on_device
