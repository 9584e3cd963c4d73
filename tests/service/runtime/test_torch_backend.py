import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kohonen_tokenizer.service.errors import DeviceError, GraphError
from kohonen_tokenizer.service.runtime import backend, backends, torch_backend
from kohonen_tokenizer.service.runtime.backend import Backend
from kohonen_tokenizer.service.runtime.backends import load_backend
from kohonen_tokenizer.service.runtime.buckets import BucketedGraph
from kohonen_tokenizer.service.runtime.bundle import Bundle, load_bundle
from kohonen_tokenizer.service.runtime.tensors import pixels_group, tokens_group
from kohonen_tokenizer.service.runtime.torch_backend import CapturedBatch, TorchBackend, check_device

SHIPPED = Path(__file__).parents[3] / "bundles" / "cifar10-ksom-512"
FORMATS = ["torchscript", "torch_export"]


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """One thread of torch a run, and then what it had before: the number is the whole process's."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module", params=FORMATS)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return load_bundle(SHIPPED, graph_format=request.param)


@pytest.fixture(scope="module")
def loaded(bundle: Bundle) -> Backend:
    return load_backend(bundle, device="cpu", num_threads=1)


@pytest.fixture(scope="module")
def by_onnx() -> Backend:
    return load_backend(load_bundle(SHIPPED), device="cpu", num_threads=1)


@pytest.fixture(scope="module")
def images(photographs: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, size=(4, 32, 32, 3), dtype=np.uint8)
    return np.concatenate([photographs, noise])


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """Squares of 32 x 32 pixels cut from photographs: uint8 [14, 32, 32, 3]."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    cuts = [photo[50 * i : 50 * i + 32, 80 * i : 80 * i + 32] for photo in photos for i in range(7)]
    return np.stack(cuts)


def test_it_gives_the_tokens_of_onnx(loaded: Backend, by_onnx: Backend, images: np.ndarray) -> None:
    tokens = loaded.encode(images)
    assert tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens, by_onnx.encode(images))


def test_it_gives_the_pixels_of_onnx_within_a_level(
    loaded: Backend, by_onnx: Backend, images: np.ndarray
) -> None:
    tokens = by_onnx.encode(images)
    pixels = loaded.decode(tokens)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - by_onnx.decode(tokens)).max() <= 1


def test_it_takes_arrays_that_it_may_not_write_to(loaded: Backend, images: np.ndarray) -> None:
    view = images[::-1]
    view.flags.writeable = False
    np.testing.assert_array_equal(loaded.encode(view), loaded.encode(images)[::-1])


def test_it_says_what_it_is(bundle: Bundle, loaded: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = f"torch {torch.__version__}, {bundle.graph_format} on the CPU"
    assert loaded.description == f"{engine}, 1 thread a run"
    assert loaded.max_batch_size == 32
    monkeypatch.setattr(backend, "available_threads", lambda: 5)
    of_two = TorchBackend.load(bundle, num_threads=2)
    assert of_two.description == f"{engine}, 2 threads a run"
    assert of_two.num_parallel_runs == 2
    assert torch.get_num_threads() == 2


def test_batches_of_fixed_sizes_give_the_same(bundle: Bundle, loaded: Backend, images: np.ndarray) -> None:
    """As on a GPU, but for the GPU: buffers and buckets."""
    pixels, tokens = pixels_group(bundle.manifest.image), tokens_group(bundle.manifest.levels)
    (encoder, _, _), (decoder, _, _) = torch_backend._load_modules(bundle, device=torch.device("cpu"))

    def in_buckets(module: Any, source: Any, target: Any) -> BucketedGraph:
        return BucketedGraph(
            [
                CapturedBatch(module, size=size, source=source, target=target, device="cpu")
                for size in (1, 4, 16)
            ]
        )

    encode, decode = in_buckets(encoder, pixels, tokens), in_buckets(decoder, tokens, pixels)
    for num_images in (1, 3, 18):
        grids = encode(images[:num_images])
        np.testing.assert_array_equal(grids, loaded.encode(images[:num_images]))
        np.testing.assert_array_equal(decode(grids), loaded.decode(grids))


@pytest.mark.parametrize("device", ["tensorrt", "tpu"])
def test_a_device_that_torch_has_not_is_refused(device: Any) -> None:
    with pytest.raises(DeviceError, match=f"device is '{device}'; a backend of torch takes"):
        check_device(device)


@pytest.mark.parametrize(
    ("built_for", "reason"),
    [("13.2", "is built for CUDA 13.2 and finds no GPU"), (None, "is built without CUDA")],
)
def test_cuda_never_falls_back(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, built_for: str | None, reason: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    with pytest.raises(
        DeviceError, match=f'^device "cuda" does not work here: .*{reason}; .*or use device "cpu"$'
    ):
        load_backend(bundle, device="cuda")


@pytest.mark.parametrize("graph", [b"", b"not a graph"])
def test_what_is_no_graph_is_refused(bundle: Bundle, graph: bytes) -> None:
    with pytest.raises(GraphError, match=rf"^{bundle.graph_files.decoder} does not load") as caught:
        TorchBackend.load(replace(bundle, decoder=graph))
    assert "\n" not in str(caught.value)


def test_a_decoder_in_the_place_of_the_encoder_is_refused(bundle: Bundle) -> None:
    with pytest.raises(
        GraphError, match=rf"^{bundle.graph_files.encoder} does not run on a batch of 2"
    ) as caught:
        TorchBackend.load(replace(bundle, encoder=bundle.decoder))
    assert "\n" not in str(caught.value)


def test_a_graph_that_does_not_fit_the_manifest_is_refused(bundle: Bundle) -> None:
    (level,) = bundle.manifest.levels
    levels = (level.model_copy(update={"latent_grid": (4, 4)}),)
    message = r"output is torch\.int32 \[2, 8, 8\] .* the manifest asks for tokens int32 \[B, 4, 4\]"
    with pytest.raises(GraphError, match=message):
        TorchBackend.load(replace(bundle, manifest=bundle.manifest.model_copy(update={"levels": levels})))


@pytest.mark.parametrize("graph_format", FORMATS)
def test_a_bundle_without_the_format_is_refused(tiny_bundle: Path, graph_format: Any) -> None:
    with pytest.raises(GraphError, match=f"tiny-colors has no graphs in the format {graph_format}; use"):
        load_bundle(tiny_bundle, graph_format=graph_format)


@pytest.mark.parametrize("graph_format", FORMATS)
def test_without_torch_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, graph_format: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, torch_backend.__name__)
    monkeypatch.delattr(sys.modules["kohonen_tokenizer.service.runtime"], "torch_backend")
    with pytest.raises(DeviceError, match=rf"^backend {graph_format} needs torch, .*\[torch\]'"):
        backends.device_check(graph_format)
