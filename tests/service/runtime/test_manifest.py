import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kohonen_tokenizer.service.errors import ManifestError
from kohonen_tokenizer.service.runtime.manifest import Manifest, codebook_sha256


@pytest.fixture
def content(tiny_bundle: Path) -> dict[str, Any]:
    """The tiny bundle's manifest as JSON."""
    loaded: dict[str, Any] = json.loads((tiny_bundle / "manifest.json").read_bytes())
    return loaded


def test_what_is_written_is_what_is_read(tiny_bundle: Path) -> None:
    data = (tiny_bundle / "manifest.json").read_bytes()
    manifest = Manifest.from_json(data)
    assert manifest.to_json() == data
    assert manifest.levels[0].map_shape == (3, 4)
    assert manifest.levels[0].map_topology == "rectangular", "as a bundle that does not say it"
    assert manifest.created.isoformat() == "2026-11-24T12:00:00+00:00"


def set_field(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]

    def change(content: Any) -> None:
        for key in parents:
            content = content[key]
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_field("schema_version", 2), "schema_version 2, and this version reads 1"),
        (set_field("schema_version", "1"), "schema_version '1'"),
        (set_field("schema_version", True), "schema_version True"),
        (set_field("surprise", 1), "surprise: Extra inputs are not permitted"),
        (set_field("name", "two words"), "name: String should match"),
        (set_field("created", "yesterday"), "created"),
        (set_field("created", "2026-11-24T12:00:00"), "created: Input should have timezone info"),
        (set_field("image/height", 0), "image.height: Input should be greater than 0"),
        (set_field("image/height", "8"), "image.height: Input should be a valid integer"),
        (set_field("image/channels", 4), "image.channels: Input should be 3"),
        (set_field("levels", []), "levels"),
        (set_field("levels/0/codebook_size", 13), "map_shape [3, 4] has 12 places for codebook_size 13"),
        (set_field("levels/0/map_shape", [2, 2, 3]), "levels.0.map_shape"),
        (set_field("levels/0/map_topology", "spherical"), "levels.0.map_topology"),
        (set_field("levels/0/codebook_sha256", "XYZ"), "levels.0.codebook_sha256"),
        (
            set_field("levels/0/codebook_file", "other.safetensors"),
            "files has no entry for other.safetensors",
        ),
        (set_field("graphs/onnx/encoder", "../encoder.onnx"), "graphs.onnx.encoder"),
        (set_field("graphs/torchscript", {"encoder": "e.pt", "decoder": "d.pt"}), "no entry for d.pt, e.pt"),
        (set_field("files/manifest.json", {"sha256": "0" * 64, "bytes": 1}), "cannot hold its own hash"),
        (set_field("files/encoder.onnx/bytes", -1), "files.encoder.onnx.bytes"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_in_one_line(
    content: dict[str, Any], change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    change(content)
    with pytest.raises(ManifestError) as caught:
        Manifest.from_json(json.dumps(content).encode())
    assert reason in str(caught.value)
    assert str(caught.value).startswith("manifest.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"metrics": NaN}', "is not JSON"),
        (b"[1]", "holds no JSON object"),
        (b"{}", "schema_version None"),
        (b'{"schema_version": 1}', "Field required"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        Manifest.from_json(data)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_json_cannot_hold_is_not_written(content: dict[str, Any], value: float) -> None:
    with pytest.raises(ValueError, match="finite number"):
        Manifest.model_validate(content | {"metrics": {"psnr": value}})


def test_codebook_hash_is_of_values_and_not_of_their_layout() -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = hashlib.sha256(struct.pack("<6f", 0, 1, 2, 3, 4, 5)).hexdigest()
    assert codebook_sha256(vectors) == expected
    assert codebook_sha256(np.asfortranarray(vectors)) == expected
    assert codebook_sha256(vectors.astype(">f4")) == expected
