"""The tiny bundle with other graphs: one numbers its codes the other way round, one is wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from safetensors.numpy import load, save

from kohonen_tokenizer.service.runtime.manifest import codebook_sha256, sha256_hex


def graph_that_numbers_from_12(encoder: bytes) -> bytes:
    """The tiny encoder, whose codes are 0 to 11, with other numbers for them."""
    model = onnx.load_from_string(encoder)
    (cast,) = [node for node in model.graph.node if node.output[0] == "tokens"]
    cast.input[0] = "numbers"
    model.graph.node.insert(
        len(model.graph.node) - 1, helper.make_node("Add", ["indices", "twelve"], ["numbers"])
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(12), "twelve"))
    return model.SerializeToString()


def write_misnumbered(bundle: Path, folder: Path) -> None:
    """Write the tiny bundle again with an encoder whose tokens are no codes."""
    manifest, files = _read(bundle)
    files["encoder.onnx"] = graph_that_numbers_from_12(files["encoder.onnx"])
    _write(folder, manifest, files)


def write_reversed(bundle: Path, folder: Path) -> None:
    """Write the tiny bundle again with its codes in the opposite order: what was token 0 is token 11."""
    manifest, files = _read(bundle)
    for name, axes in (
        ("encoder.onnx", {"minus_twice_vectors": 1, "squared_norms": 0}),
        ("decoder.onnx", {"vectors": 0}),
    ):
        model = onnx.load_from_string(files[name])
        for constant in model.graph.initializer:
            if constant.name in axes:
                value = np.flip(numpy_helper.to_array(constant), axes[constant.name])
                constant.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), constant.name))
        files[name] = model.SerializeToString()
    codebook = load(files["codebook.safetensors"])
    codebook["vectors"] = np.ascontiguousarray(codebook["vectors"][::-1])
    files["codebook.safetensors"] = save(codebook)
    manifest["levels"][0]["codebook_sha256"] = codebook_sha256(codebook["vectors"])
    _write(folder, manifest, files)


def _read(bundle: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    manifest = json.loads((bundle / "manifest.json").read_text())
    return manifest, {name: (bundle / name).read_bytes() for name in manifest["files"]}


def _write(folder: Path, manifest: dict[str, Any], files: dict[str, bytes]) -> None:
    manifest["files"] = {
        name: {"sha256": sha256_hex(data), "bytes": len(data)} for name, data in files.items()
    }
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "manifest.json").write_text(json.dumps(manifest))
