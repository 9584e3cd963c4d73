"""The tiny tokenizer of tiny_bundle.py, and one with two levels, as bundles."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save

from kohonen_tokenizer.service.runtime.manifest import codebook_sha256

from . import tiny_bundle as tiny
from .tiny_bundle import COLUMNS, ROWS, TinyModel, onnx_model, tiny_codebook, write_bundle


def _two_level_encoder(vectors: np.ndarray) -> bytes:
    """ONNX: pixels uint8 [B, 8, 8, 3] -> tokens_top int32 [B, 1, 1] and tokens_bottom int32 [B, 2, 2]."""
    node = helper.make_node
    nodes = [
        node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    for level, block in (("top", 8), ("bottom", 4)):
        nodes += [
            node("AveragePool", ["planes"], [f"mean_{level}"], kernel_shape=[block] * 2, strides=[block] * 2),
            node("Transpose", [f"mean_{level}"], [f"latents_{level}"], perm=[0, 2, 3, 1]),
            node("MatMul", [f"latents_{level}", "minus_twice_vectors"], [f"products_{level}"]),
            node("Add", [f"products_{level}", "squared_norms"], [f"distances_{level}"]),
            node("ArgMin", [f"distances_{level}"], [f"indices_{level}"], axis=-1, keepdims=0),
            node("Cast", [f"indices_{level}"], [f"tokens_{level}"], to=TensorProto.INT32),
        ]
    return onnx_model(
        nodes,
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 8, 8, 3])],
        [
            helper.make_tensor_value_info("tokens_top", TensorProto.INT32, ["batch", 1, 1]),
            helper.make_tensor_value_info("tokens_bottom", TensorProto.INT32, ["batch", 2, 2]),
        ],
        {"minus_twice_vectors": -2 * vectors.T, "squared_norms": np.square(vectors).sum(axis=1)},
    )


def _two_level_decoder(vectors: np.ndarray) -> bytes:
    """ONNX: each pixel is the mean of the colors of its tokens of both levels, rounded down."""
    node = helper.make_node
    resize = {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    nodes = []
    for level in ("top", "bottom"):
        nodes += [
            node("Gather", ["vectors", f"tokens_{level}"], [f"latents_{level}"], axis=0),
            node("Transpose", [f"latents_{level}"], [f"planes_{level}"], perm=[0, 3, 1, 2]),
            node("Resize", [f"planes_{level}", "", f"scales_{level}"], [f"float_{level}"], **resize),
        ]
    nodes += [
        node("Add", ["float_top", "float_bottom"], ["sum"]),
        node("Mul", ["sum", "half"], ["mean"]),
        node("Transpose", ["mean"], ["image"], perm=[0, 2, 3, 1]),
        node("Cast", ["image"], ["pixels"], to=TensorProto.UINT8),
    ]
    return onnx_model(
        nodes,
        [
            helper.make_tensor_value_info("tokens_top", TensorProto.INT32, ["batch", 1, 1]),
            helper.make_tensor_value_info("tokens_bottom", TensorProto.INT32, ["batch", 2, 2]),
        ],
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 8, 8, 3])],
        {
            "vectors": vectors,
            "half": np.array(0.5, dtype=np.float32),
            "scales_top": np.array([1, 1, 8, 8], dtype=np.float32),
            "scales_bottom": np.array([1, 1, 4, 4], dtype=np.float32),
        },
    )


@pytest.fixture(scope="session")
def two_level_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_model: TinyModel) -> Path:
    """A bundle of two levels: top has a token an image, its mean color; bottom is as in the tiny bundle.

    Both have the twelve colors, but top on a map of 3 x 4 and bottom on a line.
    """
    vectors = tiny_model.vectors
    folder = tmp_path_factory.mktemp("bundles") / "two-levels"
    line = np.arange(len(vectors), dtype=np.int32)[:, np.newaxis]
    files = {
        "encoder.onnx": _two_level_encoder(vectors),
        "decoder.onnx": _two_level_decoder(vectors),
        "codebook_top.safetensors": tiny_codebook(vectors),
        "codebook_bottom.safetensors": save({"vectors": vectors, "coordinates": line}),
    }
    shared = {"codebook_size": ROWS * COLUMNS, "code_dim": 3}
    levels = [
        {
            "name": name,
            "latent_grid": grid,
            "map_shape": map_shape,
            "codebook_file": f"codebook_{name}.safetensors",
            "codebook_sha256": codebook_sha256(vectors),
        }
        | shared
        for name, grid, map_shape in (
            ("top", (1, 1), (ROWS, COLUMNS)),
            ("bottom", (2, 2), (ROWS * COLUMNS,)),
        )
    ]
    write_bundle(folder, files, name="two-levels", levels=levels)
    return folder


@pytest.fixture(scope="session")
def tiny_model() -> TinyModel:
    """The tiny tokenizer as plain loops."""
    return TinyModel(tiny.tiny_vectors())


@pytest.fixture(scope="session")
def tiny_files() -> dict[str, bytes]:
    """The tiny bundle's files but manifest.json, by name."""
    return tiny.tiny_files()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_files: dict[str, bytes]) -> Path:
    """The folder of the tiny bundle. Shared: copy it before changing it."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny-colors"
    write_bundle(folder, tiny_files)
    return folder


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Write a bundle of other files, or with other fields in the manifest: make_bundle(files, name="x")."""

    def make(files: dict[str, bytes], **changes: Any) -> Path:
        folder = tmp_path / "bundle"
        write_bundle(folder, files, **changes)
        return folder

    return make


@pytest.fixture
def random_images() -> np.ndarray:
    """uint8 [70, 8, 8, 3]: more than one chunk of 64, the last one not full."""
    return np.random.default_rng(0).integers(0, 256, size=(70, 8, 8, 3), dtype=np.uint8)
