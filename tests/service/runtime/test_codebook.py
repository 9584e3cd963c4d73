from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from kohonen_tokenizer.service.errors import CodebookError
from kohonen_tokenizer.service.runtime.codebook import load_codebook
from kohonen_tokenizer.service.runtime.manifest import Level, Manifest


@pytest.fixture
def level(tiny_bundle: Path) -> Level:
    return Manifest.from_json((tiny_bundle / "manifest.json").read_bytes()).levels[0]


@pytest.fixture
def coordinates() -> np.ndarray:
    return np.array([(k % 4, k // 4) for k in range(12)], dtype=np.int32)


def test_vectors_coordinates_and_hash(
    tiny_files: dict[str, bytes], level: Level, coordinates: np.ndarray
) -> None:
    codebook = load_codebook(tiny_files["codebook.safetensors"], level=level)
    np.testing.assert_array_equal(codebook.coordinates, coordinates)
    np.testing.assert_array_equal(codebook.vectors[7], [245, 115, 60])
    assert codebook.vectors.dtype == np.float32
    assert codebook.sha256 == level.codebook_sha256


def test_the_arrays_are_read_only(tiny_files: dict[str, bytes], level: Level) -> None:
    codebook = load_codebook(tiny_files["codebook.safetensors"], level=level)
    with pytest.raises(ValueError, match="read-only"):
        codebook.vectors[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        codebook.coordinates[0, 0] = 1


def test_a_one_dimensional_map_has_one_coordinate(
    tiny_files: dict[str, bytes], level: Level, coordinates: np.ndarray
) -> None:
    vectors = load_codebook(tiny_files["codebook.safetensors"], level=level).vectors
    line = np.arange(12, dtype=np.int32)[:, np.newaxis]
    level_1d = level.model_copy(update={"map_shape": (12,)})
    codebook = load_codebook(save({"vectors": vectors, "coordinates": line}), level=level_1d)
    np.testing.assert_array_equal(codebook.coordinates, line)
    with pytest.raises(
        CodebookError, match=r"coordinates is int32 \[12, 2\], and the manifest asks for int32 \[12, 1\]"
    ):
        load_codebook(tiny_files["codebook.safetensors"], level=level_1d)


def test_tensors_that_do_not_fit_the_manifest_are_refused(
    level: Level, coordinates: np.ndarray, tiny_model
) -> None:
    vectors = tiny_model.vectors
    not_finite = vectors.copy()
    not_finite[3, 1] = np.nan
    swapped = np.ascontiguousarray(coordinates[:, ::-1])
    for tensors, reason in (
        ({"vectors": vectors}, r"holds \['vectors'\]; it must hold coordinates and vectors"),
        ({"vectors": vectors, "coordinates": coordinates, "more": vectors}, "it must hold"),
        ({"vectors": vectors.astype("f8"), "coordinates": coordinates}, r"vectors is float64 \[12, 3\]"),
        ({"vectors": vectors[:11], "coordinates": coordinates}, r"vectors is float32 \[11, 3\]"),
        ({"vectors": vectors, "coordinates": coordinates.astype("i8")}, r"coordinates is int64 \[12, 2\]"),
        ({"vectors": vectors, "coordinates": swapped}, r"not those of map_shape \[3, 4\]"),
        ({"vectors": not_finite, "coordinates": coordinates}, "not finite"),
        ({"vectors": vectors + 1, "coordinates": coordinates}, "vectors have sha256"),
    ):
        with pytest.raises(CodebookError, match=reason) as caught:
            load_codebook(save(tensors), level=level)
        assert str(caught.value).startswith("codebook.safetensors")


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"\x05\0\0\0\0\0\0\0hello"])
def test_what_is_no_safetensors_is_refused(data: bytes, level: Level) -> None:
    with pytest.raises(CodebookError, match="is not safetensors"):
        load_codebook(data, level=level)
