"""A true tokenizer that is small enough to check by hand, built without torch.

Images of 8 x 8 pixels, a latent grid of 2 x 2, twelve colors on a map of 3 rows and 4 columns. Encoding
averages each 4 x 4 block of pixels and takes the nearest color; decoding paints each block with its color.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from kohonen_tokenizer.service.runtime.manifest import Manifest, codebook_sha256, sha256_hex

ROWS, COLUMNS, BLOCK = 3, 4, 4


@dataclass(frozen=True)
class TinyModel:
    """The tiny tokenizer as plain loops: what the bundle must do."""

    vectors: np.ndarray

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Tokens int32 [B, 2, 2] of uint8 [B, 8, 8, 3]."""
        tokens = np.empty((len(images), 2, 2), dtype=np.int32)
        for place in np.ndindex(tokens.shape):
            image, row, column = place
            block = images[image, BLOCK * row : BLOCK * (row + 1), BLOCK * column : BLOCK * (column + 1)]
            mean = block.reshape(-1, 3).astype(np.float64).mean(axis=0)
            tokens[place] = np.argmin([np.sum((mean - vector) ** 2) for vector in self.vectors])
        return tokens

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Images uint8 [B, 8, 8, 3] of tokens [B, 2, 2]."""
        images = np.empty((len(tokens), 2 * BLOCK, 2 * BLOCK, 3), dtype=np.uint8)
        for image, row, column in np.ndindex(tokens.shape):
            block = (
                image,
                slice(BLOCK * row, BLOCK * (row + 1)),
                slice(BLOCK * column, BLOCK * (column + 1)),
            )
            images[block] = self.vectors[tokens[image, row, column]]
        return images


def tiny_vectors() -> np.ndarray:
    """Red grows along x and green along y: neighbors on the map are neighbors in color."""
    return np.array(
        [(80 * x + 5, 110 * y + 5, 30 + 10 * x) for y in range(ROWS) for x in range(COLUMNS)], "f4"
    )


def onnx_model(
    nodes: list[onnx.NodeProto],
    sources: list[onnx.ValueInfoProto],
    targets: list[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        sources,
        targets,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _tiny_encoder(vectors: np.ndarray) -> bytes:
    """ONNX: pixels uint8 [B, 8, 8, 3] -> tokens int32 [B, 2, 2]."""
    node = helper.make_node
    return onnx_model(
        [
            node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
            node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
            node("AveragePool", ["planes"], ["means"], kernel_shape=[BLOCK, BLOCK], strides=[BLOCK, BLOCK]),
            node("Transpose", ["means"], ["latents"], perm=[0, 2, 3, 1]),
            node("MatMul", ["latents", "minus_twice_vectors"], ["products"]),
            node("Add", ["products", "squared_norms"], ["distances"]),
            node("ArgMin", ["distances"], ["indices"], axis=-1, keepdims=0),
            node("Cast", ["indices"], ["tokens"], to=TensorProto.INT32),
        ],
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 8, 8, 3])],
        [helper.make_tensor_value_info("tokens", TensorProto.INT32, ["batch", 2, 2])],
        {"minus_twice_vectors": -2 * vectors.T, "squared_norms": np.square(vectors).sum(axis=1)},
    )


def _tiny_decoder(vectors: np.ndarray) -> bytes:
    """ONNX: tokens int32 [B, 2, 2] -> pixels uint8 [B, 8, 8, 3]."""
    node = helper.make_node
    return onnx_model(
        [
            node("Gather", ["vectors", "tokens"], ["latents"], axis=0),
            node("Transpose", ["latents"], ["planes"], perm=[0, 3, 1, 2]),
            node(
                "Resize",
                ["planes", "", "scales"],
                ["float"],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
            node("Transpose", ["float"], ["image"], perm=[0, 2, 3, 1]),
            node("Cast", ["image"], ["pixels"], to=TensorProto.UINT8),
        ],
        [helper.make_tensor_value_info("tokens", TensorProto.INT32, ["batch", 2, 2])],
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 8, 8, 3])],
        {"vectors": vectors, "scales": np.array([1, 1, BLOCK, BLOCK], dtype=np.float32)},
    )


def tiny_codebook(vectors: np.ndarray) -> bytes:
    """The codebook as safetensors."""
    coordinates = np.array([(x, y) for y in range(ROWS) for x in range(COLUMNS)], dtype=np.int32)
    return save({"vectors": vectors, "coordinates": coordinates})


def tiny_files() -> dict[str, bytes]:
    """The tiny bundle's files but manifest.json, by name."""
    vectors = tiny_vectors()
    return {
        "encoder.onnx": _tiny_encoder(vectors),
        "decoder.onnx": _tiny_decoder(vectors),
        "codebook.safetensors": tiny_codebook(vectors),
    }


def write_bundle(folder: Path, files: dict[str, bytes], **changes: Any) -> None:
    """Write `files` and a manifest of them into `folder`; `changes` replace fields of the tiny manifest."""
    vectors = tiny_vectors()
    manifest = {
        "schema_version": 1,
        "name": "tiny-colors",
        "description": "Twelve colors on a map of 3 x 4.",
        "license": "MIT",
        "created": datetime(2026, 11, 24, 12, tzinfo=UTC),
        "versions": {"onnx": onnx.__version__},
        "image": {"height": 8, "width": 8, "channels": 3},
        "levels": [
            {
                "name": "tokens",
                "latent_grid": (2, 2),
                "map_shape": (ROWS, COLUMNS),
                "codebook_size": ROWS * COLUMNS,
                "code_dim": 3,
                "codebook_file": "codebook.safetensors",
                "codebook_sha256": codebook_sha256(vectors),
            }
        ],
        "files": {name: {"sha256": sha256_hex(data), "bytes": len(data)} for name, data in files.items()},
        "graphs": {"onnx": {"encoder": "encoder.onnx", "decoder": "decoder.onnx"}},
        "checkpoint": {"sha256": "0" * 64, "step": 0},
        "architecture": {},
        "training": {},
        "training_data": {"name": "none", "num_images": 1, "license": "MIT"},
        "metrics": {"psnr": 20.5},
        "parity": {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "manifest.json").write_bytes(Manifest.model_validate(manifest | changes).to_json())
