"""What reads a finished dataset: verify, tokens export, decode."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kohonen_tokenizer import Tokenizer

from .conftest import NUM_IMAGES, Command, TinyModel, png


@pytest.fixture
def dataset(encode: Command, tmp_path: Path, photos: Path) -> Path:
    """The dataset of the photos, of which one has failed."""
    (photos / "cat" / "003.png").write_bytes(b"")
    encode(photos, tmp_path / "dataset")
    return tmp_path / "dataset"


@pytest.fixture
def good(random_images: np.ndarray) -> np.ndarray:
    """The images that did not fail."""
    return np.delete(random_images, 3, axis=0)


def test_verify_finds_nothing(run: Command, dataset: Path) -> None:
    status, out, err = run("verify", dataset)
    assert (status, err) == (0, "")
    assert out == f"5 shards, 70 images, 1 of them failed: all is as {dataset}/_manifest.json says\n"


def test_verify_names_what_has_changed(run: Command, dataset: Path) -> None:
    shard = dataset / "00001.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    (dataset / "00002.parquet").unlink()
    (dataset / "99999.parquet").write_bytes(b"")
    status, out, _ = run("verify", dataset)
    assert status == 5
    lines = out.splitlines()
    assert [line[:13] for line in lines] == ["00001.parquet", "00002.parquet", "99999.parquet"]
    assert "and the manifest says" in lines[0]
    assert lines[1] == "00002.parquet: cannot be read (No such file or directory)"
    status, out, _ = run("verify", dataset, "--json")
    assert (status, json.loads(out)["flaws"]) == (5, lines)


def test_verify_looks_into_shards_whose_hash_was_made_to_fit(run: Command, dataset: Path) -> None:
    import hashlib

    shard, manifest_file = dataset / "00001.parquet", dataset / "_manifest.json"
    manifest = json.loads(manifest_file.read_bytes())

    def put(table: pa.Table) -> str:
        pq.write_table(table, shard)
        record = manifest["shards"][1]
        record |= {"sha256": hashlib.sha256(shard.read_bytes()).hexdigest()}
        manifest_file.write_text(json.dumps(manifest))
        return run("verify", dataset)[1]

    table = pq.read_table(shard)
    assert "has 15 rows and 0 failed ones, and the manifest says 16 and 0" in put(table.slice(1))
    assert "its metadata names another model" in put(table.replace_schema_metadata(None))


@pytest.mark.parametrize("command", [["verify"], ["tokens", "export"]])
def test_what_is_not_done_is_no_dataset(run: Command, dataset: Path, command: list[str]) -> None:
    (dataset / "_manifest.json").unlink()
    rest = [dataset.parent / "arrays"] if command[0] == "tokens" else []
    status, _, err = run(*command, dataset, *rest)
    assert status == 2
    assert "has no _manifest.json: no dataset is there, or its job is not done" in err


def test_export_gives_arrays_for_training(
    run: Command, tmp_path: Path, dataset: Path, good: np.ndarray, tiny_model: TinyModel
) -> None:
    status, out, _ = run("tokens", "export", dataset, tmp_path / "arrays")
    assert status == 0
    assert out == f"69 images (1 failed ones left out) in {tmp_path}/arrays: 3 files\n"
    tokens = np.load(tmp_path / "arrays" / "tokens.npy", mmap_mode="r")
    assert (tokens.dtype, tokens.shape) == (np.uint16, (NUM_IMAGES - 1, 2, 2))
    np.testing.assert_array_equal(tokens, tiny_model.encode(good))
    labels = np.load(tmp_path / "arrays" / "labels.npy")
    assert labels.dtype == np.int64
    assert labels.tolist() == [0] * 29 + [1] * 40
    index = json.loads((tmp_path / "arrays" / "index.json").read_bytes())
    assert index["label_names"] == ["cat", "dog"]
    assert index["num_images"] == NUM_IMAGES - 1
    assert index["levels"][0]["codebook_sha256"]


def test_export_keeps_labels_that_are_numbers(
    run: Command, encode: Command, tmp_path: Path, random_images: np.ndarray
) -> None:
    images = pa.array([png(image) for image in random_images[:3]], pa.binary())
    pq.write_table(pa.table({"image": images, "label": pa.array([12, None, 7])}), tmp_path / "a.parquet")
    encode(tmp_path / "a.parquet", tmp_path / "dataset")
    status, out, _ = run("tokens", "export", tmp_path / "dataset", tmp_path / "arrays", "--json")
    assert (status, json.loads(out)["num_images"]) == (0, 3)
    assert np.load(tmp_path / "arrays" / "labels.npy").tolist() == [12, -1, 7]
    assert json.loads((tmp_path / "arrays" / "index.json").read_bytes())["label_names"] is None


def test_export_without_labels(
    run: Command, encode: Command, tmp_path: Path, random_images: np.ndarray
) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(png(random_images[0]))
    encode(tmp_path / "flat", tmp_path / "dataset")
    assert run("tokens", "export", tmp_path / "dataset", tmp_path / "arrays")[0] == 0
    assert sorted(path.name for path in (tmp_path / "arrays").iterdir()) == ["index.json", "tokens.npy"]


def test_export_gives_tars_of_tokens(
    run: Command, tmp_path: Path, dataset: Path, good: np.ndarray, tiny_model: TinyModel
) -> None:
    assert run("tokens", "export", dataset, tmp_path / "tars", "--tars")[0] == 0
    assert len(list((tmp_path / "tars").iterdir())) == 5
    with tarfile.open(tmp_path / "tars" / "00004.tar") as tar:
        assert tar.getnames()[-2:] == ["dog/069_png.tokens.npy", "dog/069_png.cls"]
        member = tar.extractfile("dog/069_png.tokens.npy")
        assert member is not None
        np.testing.assert_array_equal(np.load(io.BytesIO(member.read())), tiny_model.encode(good)[-1])


def test_decode_gives_image_files(
    run: Command, tmp_path: Path, dataset: Path, tiny_bundle: Path, good: np.ndarray, tiny_model: TinyModel
) -> None:
    status, out, _ = run("decode", dataset, "--bundle", tiny_bundle, "--output", tmp_path / "images")
    assert (status, out) == (0, f"69 images in {tmp_path}/images\n")
    paths = sorted((tmp_path / "images").rglob("*.png"))
    assert paths[0] == tmp_path / "images" / "cat" / "000.png.png"
    decoded = np.stack([np.asarray(Image.open(path)) for path in paths])
    np.testing.assert_array_equal(decoded, tiny_model.decode(tiny_model.encode(good)))


def test_decode_gives_tars_that_encode_takes(
    run: Command, encode: Command, tmp_path: Path, dataset: Path, tiny_bundle: Path
) -> None:
    run("decode", dataset, "--bundle", tiny_bundle, "--output", tmp_path / "tars", "--tars")
    assert len(list((tmp_path / "tars").glob("*.tar"))) == 5
    with tarfile.open(tmp_path / "tars" / "00000.tar") as tar:
        assert tar.getnames()[:3] == ["cat/000_png.png", "cat/000_png.cls", "cat/001_png.png"]
        label = tar.extractfile("cat/000_png.cls")
        assert label is not None
        assert label.read() == b"cat"
    assert encode(tmp_path / "tars", tmp_path / "again")[0] == 0
    again, first = (pq.read_table(path).to_pydict() for path in (tmp_path / "again", dataset))
    # The tiny model's images are its tokens' colors: they have the same tokens.
    assert again["tokens"] == [tokens for tokens in first["tokens"] if tokens is not None]
    assert again["label"] == ["cat"] * 29 + ["dog"] * 40


def test_decode_with_another_codebook_is_refused(
    run: Command, tmp_path: Path, dataset: Path, tiny_bundle: Path
) -> None:
    manifest_file = dataset / "_manifest.json"
    manifest = json.loads(manifest_file.read_bytes())
    manifest["identity"]["levels"][0]["codebook_sha256"] = "0" * 64
    manifest_file.write_text(json.dumps(manifest))
    status, _, err = run("decode", dataset, "--bundle", tiny_bundle, "--output", tmp_path / "images")
    assert status == 2
    assert f"{dataset} holds tokens of codebook {'0' * 64}, and the bundle's is" in err


def test_ids_do_not_leave_the_folder(
    run: Command, encode: Command, tmp_path: Path, tiny_bundle: Path, random_images: np.ndarray
) -> None:
    table = pa.table({"image": pa.array([png(random_images[0])], pa.binary()), "name": ["../../a"]})
    pq.write_table(table, tmp_path / "a.parquet")
    encode(tmp_path / "a.parquet", tmp_path / "dataset", "--id-column", "name")
    status, _, err = run(
        "decode", tmp_path / "dataset", "--bundle", tiny_bundle, "--output", tmp_path / "x" / "y"
    )
    assert status == 2
    assert "the id '../../a' is no name of a file in a folder" in err
    assert not list(tmp_path.rglob("a.png"))


def test_two_levels_have_a_column_each_and_come_back(
    run: Command, tmp_path: Path, photos: Path, two_level_bundle: Path
) -> None:
    dataset, images = tmp_path / "dataset", tmp_path / "images"
    options = ["--bundle", two_level_bundle, "--device", "cpu"]
    status, _, _ = run("encode", photos, dataset, *options, "--workers", "1")
    assert status == 0
    table = pq.read_table(dataset / "00000.parquet")
    tokenizer = Tokenizer.load(two_level_bundle)
    name = table["id"][5].as_py()
    pixels = np.asarray(Image.open(photos / name))[None]
    expected = tokenizer.encode(pixels)
    assert set(expected) == {"top", "bottom"}
    for level, grid in expected.items():
        assert table[f"tokens_{level}"][5].as_py() == grid.ravel().tolist()
    status, _, _ = run("decode", dataset, *options, "--output", images)
    assert status == 0
    decoded = np.asarray(Image.open(images / f"{name}.png"))
    np.testing.assert_array_equal(decoded, tokenizer.decode(expected)[0])
