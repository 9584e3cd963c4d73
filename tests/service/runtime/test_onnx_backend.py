import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kohonen_tokenizer.service.errors import DeviceError, GraphError
from kohonen_tokenizer.service.runtime import backend, onnx_backend, onnx_session
from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.cuda import Gpu
from kohonen_tokenizer.service.runtime.host_memory import PageableMemory
from kohonen_tokenizer.service.runtime.onnx_backend import OnnxBackend
from kohonen_tokenizer.service.runtime.silent_onnxruntime import onnxruntime as ort
from kohonen_tokenizer.service.runtime.tensors import pixels_group, tokens_group
from kohonen_tokenizer.service.runtime.threads import available_threads

MakeBundle = Callable[..., Path]


class SessionOptionsSpy:
    """Takes the place of InferenceSession and keeps what each session was made with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[dict[str, Any]] = []
        real = ort.InferenceSession

        def make(graph: bytes, options: ort.SessionOptions, **arguments: Any) -> ort.InferenceSession:
            self.calls.append({"options": options, **arguments})
            return real(graph, options, **arguments)

        monkeypatch.setattr(ort, "InferenceSession", make)


@pytest.mark.parametrize("num_threads", [None, 1, 3])
def test_sessions_are_bounded_and_do_not_spin(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, num_threads: int | None
) -> None:
    spy = SessionOptionsSpy(monkeypatch)
    OnnxBackend.load(load_bundle(tiny_bundle), num_threads=num_threads)
    assert len(spy.calls) == 2
    for call in spy.calls:
        options = call["options"]
        assert options.intra_op_num_threads == (num_threads or available_threads())
        assert options.inter_op_num_threads == 1
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        assert call["providers"] == [("CPUExecutionProvider", {})]
        assert call["enable_fallback"] == 0


def test_a_backend_says_what_it_is(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "available_threads", lambda: 5)
    bundle = load_bundle(tiny_bundle)
    loaded = OnnxBackend.load(bundle, num_threads=2)
    assert loaded.description == f"onnxruntime {ort.__version__}, CPUExecutionProvider, 2 threads a run"
    assert (loaded.num_parallel_runs, loaded.max_batch_size) == (2, 64)
    loaded = OnnxBackend.load(bundle, num_threads=6)
    assert loaded.num_parallel_runs == 1
    loaded = OnnxBackend.load(bundle)
    assert loaded.description.endswith(", 5 threads a run")
    assert loaded.num_parallel_runs == 1


@pytest.mark.parametrize("num_threads", [0, -1])
def test_a_number_of_threads_below_one_is_refused(tiny_bundle: Path, num_threads: int) -> None:
    with pytest.raises(ValueError, match=f"num_threads is {num_threads}; it must be 1 or more"):
        OnnxBackend.load(load_bundle(tiny_bundle), num_threads=num_threads)


class PretendedCudaSession(ort.InferenceSession):
    """Runs on the CPU and says that it runs where it was asked to; remembers that, and its threads."""

    calls: ClassVar[list[dict[str, Any]]] = []
    threads: ClassVar[set[int]] = set()

    def __init__(self, graph: bytes, options: ort.SessionOptions, **arguments: Any) -> None:
        self.calls.append({"options": options, **arguments})
        super().__init__(graph, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return [name for name, _ in self.calls[-1]["providers"]]

    def run_with_iobinding(self, iobinding: ort.IOBinding, run_options: ort.RunOptions | None = None) -> None:
        self.threads.add(threading.get_ident())
        super().run_with_iobinding(iobinding, run_options)


class TestGpu:
    """Without a GPU, all but the GPU: bound buffers, buckets and the one thread, on the host's memory."""

    @pytest.fixture(autouse=True)
    def pretend(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(PretendedCudaSession, "calls", [])
        monkeypatch.setattr(PretendedCudaSession, "threads", set())
        monkeypatch.setattr(ort, "InferenceSession", PretendedCudaSession)
        monkeypatch.setattr(onnx_backend, "check_device", lambda device: None)
        monkeypatch.setattr(onnx_backend, "list_gpus", lambda: [Gpu("a GPU", 2**30)])
        monkeypatch.setattr(onnx_backend, "load_cuda_runtime", lambda: None)
        monkeypatch.setattr(onnx_backend, "PinnedMemory", lambda runtime: PageableMemory())
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")

    @pytest.mark.parametrize("device", ["cuda", "tensorrt"])
    def test_it_encodes_and_decodes_batches_of_any_size(
        self, tiny_bundle: Path, tiny_model: Any, random_images: np.ndarray, device: Any
    ) -> None:
        loaded = OnnxBackend.load(load_bundle(tiny_bundle), device=device)
        for num_images in (1, 2, 5, 64, 65, 70):
            images = random_images[:num_images]
            tokens = loaded.encode(images)
            assert tokens.dtype == np.int32
            np.testing.assert_array_equal(tokens, tiny_model.encode(images))
            np.testing.assert_array_equal(loaded.decode(tokens), tiny_model.decode(tokens))
        assert len(PretendedCudaSession.threads) == 1
        assert threading.get_ident() not in PretendedCudaSession.threads

    def test_several_threads_may_call_it(
        self, tiny_bundle: Path, tiny_model: Any, random_images: np.ndarray
    ) -> None:
        loaded = OnnxBackend.load(load_bundle(tiny_bundle), device="cuda")
        parts = [random_images[start : start + 7] for start in range(0, 70, 7)] * 5
        with ThreadPoolExecutor(8) as threads:
            results = list(threads.map(loaded.encode, parts))
        for part, tokens in zip(parts, results, strict=True):
            np.testing.assert_array_equal(tokens, tiny_model.encode(part))

    def test_it_says_what_it_is(self, tiny_bundle: Path) -> None:
        cuda = OnnxBackend.load(load_bundle(tiny_bundle), device="cuda")
        assert cuda.description == (
            f"onnxruntime {ort.__version__}, CUDAExecutionProvider on a GPU, "
            "CUDA graphs for batches of 1, 4, 16, 64"
        )
        assert (cuda.num_parallel_runs, cuda.max_batch_size) == (1, 64)
        tensorrt = OnnxBackend.load(load_bundle(tiny_bundle), device="tensorrt")
        assert tensorrt.description.endswith("TensorrtExecutionProvider on a GPU, batches of 1, 4, 16, 64")

    @pytest.mark.parametrize(("device", "graphs"), [("cuda", ["1", "2", "3", "4"]), ("tensorrt", ["-1"] * 4)])
    def test_every_bucket_has_its_cuda_graph_captured_at_the_load(
        self, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, device: Any, graphs: list[str]
    ) -> None:
        numbers: list[str] = []

        def run(self: Any, binding: Any, options: ort.RunOptions) -> None:
            numbers.append(options.get_run_config_entry("gpu_graph_id"))

        monkeypatch.setattr(PretendedCudaSession, "run_with_iobinding", run)
        OnnxBackend.load(load_bundle(tiny_bundle), device=device)
        assert numbers == 2 * graphs
        numbers.clear()
        OnnxBackend.load(load_bundle(tiny_bundle), device=device, cuda_graphs=False)
        assert numbers == 2 * ["-1"] * 4

    @pytest.mark.parametrize("device", ["cuda", "tensorrt"])
    def test_no_part_of_a_graph_may_run_on_the_cpu(self, tiny_bundle: Path, device: Any) -> None:
        OnnxBackend.load(load_bundle(tiny_bundle), device=device)
        assert len(PretendedCudaSession.calls) == 2
        for call in PretendedCudaSession.calls:
            options = call["options"]
            assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
            assert call["enable_fallback"] == 0
            assert "CPUExecutionProvider" not in [name for name, _ in call["providers"]]

    def test_a_session_that_runs_on_the_cpu_instead_is_refused(
        self, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(PretendedCudaSession, "get_providers", lambda self: ["CPUExecutionProvider"])
        with pytest.raises(
            DeviceError, match=r'"cuda" .*: onnxruntime chose CPUExecutionProvider; .*device "cpu"$'
        ):
            OnnxBackend.load(load_bundle(tiny_bundle), device="cuda")

    def test_a_provider_that_fails_is_an_error_of_the_device(
        self, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected")

        monkeypatch.setattr(ort, "InferenceSession", fail)
        with pytest.raises(DeviceError, match="no CUDA-capable device is detected"):
            OnnxBackend.load(load_bundle(tiny_bundle), device="cuda")


def test_a_graph_that_the_device_cannot_run_whole_is_refused(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As far as onnxruntime goes without CUDA's libraries: no provider of a GPU, and none of the CPU allowed.
    monkeypatch.setattr(onnx_session, "provider_options", lambda device, *, source: [])
    bundle = load_bundle(tiny_bundle)
    pixels, tokens = pixels_group(bundle.manifest.image), tokens_group(bundle.manifest.levels)
    with pytest.raises(GraphError, match=r"fallback to CPU EP has been explicitly disabled"):
        onnx_session.start_session(
            bundle.encoder, file="encoder.onnx", device="cuda", num_threads=1, source=pixels, target=tokens
        )


def edited(graph: bytes, edit: Callable[[onnx.GraphProto], None]) -> bytes:
    model = onnx.load_from_string(graph)
    edit(model.graph)
    return bytes(model.SerializeToString())


def rename_input(graph: onnx.GraphProto) -> None:
    graph.input[0].name = graph.node[0].input[0] = "images"


def rename_output(graph: onnx.GraphProto) -> None:
    graph.output[0].name = graph.node[-1].output[0] = "indices_out"


def take_floats(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def give_int64(graph: onnx.GraphProto) -> None:
    graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    graph.node[-1].attribute[0].i = TensorProto.INT64


def fix_batch(graph: onnx.GraphProto) -> None:
    for tensor in (graph.input[0], graph.output[0]):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1


def take_16_pixels(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.shape.dim[1].dim_value = 16
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4


def flatten_output(graph: onnx.GraphProto) -> None:
    graph.initializer.append(numpy_helper.from_array(np.array([-1, 4], dtype=np.int64), "flat"))
    graph.node[-1].output[0] = "grid"
    graph.node.append(helper.make_node("Reshape", ["grid", "flat"], ["tokens"]))
    del graph.output[0].type.tensor_type.shape.dim[2]
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4


def add_output(graph: onnx.GraphProto) -> None:
    graph.output.append(helper.make_tensor_value_info("distances", TensorProto.FLOAT, ["batch", 2, 2, 12]))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            rename_input,
            r"input is images tensor\(uint8\) \['batch', 8, 8, 3\], and .* pixels uint8 \[B, 8, 8, 3\]",
        ),
        (rename_output, r"output is indices_out .* and the manifest asks for tokens int32 \[B, 2, 2\]"),
        (take_floats, r"input is pixels tensor\(float\)"),
        (give_int64, r"output is tokens tensor\(int64\)"),
        (fix_batch, r"input is pixels tensor\(uint8\) \[1, 8, 8, 3\]"),
        (take_16_pixels, r"input is pixels tensor\(uint8\) \['batch', 16, 8, 3\]"),
        (flatten_output, r"output is tokens tensor\(int32\) \['batch', 4\]"),
        (add_output, r"output is tokens .*, distances tensor\(float\)"),
    ],
)
def test_an_encoder_that_does_not_fit_the_manifest_is_refused(
    make_bundle: MakeBundle,
    tiny_files: dict[str, bytes],
    edit: Callable[[onnx.GraphProto], None],
    reason: str,
) -> None:
    folder = make_bundle(tiny_files | {"encoder.onnx": edited(tiny_files["encoder.onnx"], edit)})
    with pytest.raises(GraphError, match=rf"^encoder\.onnx: {reason}") as caught:
        OnnxBackend.load(load_bundle(folder))
    assert "\n" not in str(caught.value)


def test_a_decoder_in_the_place_of_the_encoder_is_refused(
    make_bundle: MakeBundle, tiny_files: dict[str, bytes]
) -> None:
    folder = make_bundle(tiny_files | {"encoder.onnx": tiny_files["decoder.onnx"]})
    with pytest.raises(GraphError, match=r"^encoder\.onnx: input is tokens"):
        OnnxBackend.load(load_bundle(folder))


def test_a_decoder_of_another_image_size_is_refused(
    make_bundle: MakeBundle, tiny_files: dict[str, bytes]
) -> None:
    folder = make_bundle(tiny_files, image={"height": 8, "width": 16})
    with pytest.raises(GraphError, match=r"manifest asks for pixels uint8 \[B, 8, 16, 3\]"):
        OnnxBackend.load(load_bundle(folder))


def test_dimensions_that_a_graph_leaves_open_fit(
    make_bundle: MakeBundle, tiny_files: dict[str, bytes], tiny_model: Any, random_images: np.ndarray
) -> None:
    def leave_open(graph: onnx.GraphProto) -> None:
        for name, dim in zip("ab", graph.output[0].type.tensor_type.shape.dim[1:3], strict=True):
            dim.dim_param = name

    folder = make_bundle(tiny_files | {"encoder.onnx": edited(tiny_files["encoder.onnx"], leave_open)})
    tokens = OnnxBackend.load(load_bundle(folder)).encode(random_images)
    np.testing.assert_array_equal(tokens, tiny_model.encode(random_images))


def reshape_at_run_time(graph: onnx.GraphProto, *, after: int, shape: list[int]) -> None:
    """Reshape what node `after` gives to `shape` plus the darkest pixel, known to none before the run."""
    node, name = helper.make_node, graph.node[after].output[0]
    graph.initializer.append(numpy_helper.from_array(np.array(shape, dtype=np.int64), "shape"))
    graph.node[after].output[0] = "before"
    for offset, extra in enumerate(
        (
            node("Cast", ["pixels"], ["numbers"], to=TensorProto.INT64),
            node("ReduceMin", ["numbers"], ["darkest"], keepdims=0),
            node("Add", ["shape", "darkest"], ["computed"]),
            node("Reshape", ["before", "computed"], [name]),
        )
    ):
        graph.node.insert(after + 1 + offset, extra)


def test_a_graph_that_computes_another_shape_than_it_declares_is_refused(
    make_bundle: MakeBundle, tiny_files: dict[str, bytes]
) -> None:
    last = len(onnx.load_from_string(tiny_files["encoder.onnx"]).graph.node) - 1
    graph = edited(
        tiny_files["encoder.onnx"], lambda graph: reshape_at_run_time(graph, after=last, shape=[0, 1, 4])
    )
    with pytest.raises(GraphError, match=r"^encoder\.onnx: output is \[2, 1, 4\] for a batch of 2"):
        OnnxBackend.load(load_bundle(make_bundle(tiny_files | {"encoder.onnx": graph})))


def test_a_graph_that_only_declares_its_batch_open_is_refused(
    make_bundle: MakeBundle, tiny_files: dict[str, bytes]
) -> None:
    graph = edited(
        tiny_files["encoder.onnx"], lambda graph: reshape_at_run_time(graph, after=0, shape=[1, 8, 8, 3])
    )
    with pytest.raises(GraphError, match=r"^encoder\.onnx does not run on a batch of 2"):
        OnnxBackend.load(load_bundle(make_bundle(tiny_files | {"encoder.onnx": graph})))


@pytest.mark.parametrize("graph", [b"", b"not a graph", b"\x08\x0a"])
def test_what_is_no_graph_is_refused(
    make_bundle: MakeBundle,
    tiny_files: dict[str, bytes],
    graph: bytes,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = make_bundle(tiny_files | {"decoder.onnx": graph})
    with pytest.raises(GraphError, match=r"^decoder\.onnx does not load") as caught:
        OnnxBackend.load(load_bundle(folder))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_weights_outside_the_verified_file_are_not_read(
    make_bundle: MakeBundle, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def move_out(graph: onnx.GraphProto) -> None:
        (vectors,) = (tensor for tensor in graph.initializer if tensor.name == "vectors")
        vectors.ClearField("raw_data")
        vectors.data_location = TensorProto.EXTERNAL
        vectors.external_data.add(key="location", value="weights.bin")

    folder = make_bundle(tiny_files | {"decoder.onnx": edited(tiny_files["decoder.onnx"], move_out)})
    (folder / "weights.bin").write_bytes(b"\0" * 12 * 3 * 4)
    monkeypatch.chdir(folder)
    with pytest.raises(GraphError, match=r"^decoder\.onnx does not load"):
        OnnxBackend.load(load_bundle(folder))
