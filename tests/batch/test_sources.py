"""Every kind of source gives the tokens, the ids and the labels of the images in it."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .conftest import NUM_IMAGES, Command, TinyModel, png

ALL_TOKENS = (NUM_IMAGES, 4)


@pytest.fixture
def pngs(random_images: np.ndarray) -> list[bytes]:
    """The files of 70 images."""
    return [png(image) for image in random_images]


@pytest.fixture
def expected(random_images: np.ndarray, tiny_model: TinyModel) -> np.ndarray:
    """Their tokens [70, 4]."""
    return tiny_model.encode(random_images).reshape(ALL_TOKENS)


def rows_of(dataset: Path) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = pq.read_table(dataset).to_pydict()
    return rows


def write_tar(path: Path, members: Sequence[tuple[str, bytes]], *, mode: Any = "w") -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def members_of(pngs: Sequence[bytes], *, first: int) -> list[tuple[str, bytes]]:
    """A sample for each image: the image, its class and a text."""
    members = []
    for number, content in enumerate(pngs, start=first):
        key = f"{number:04d}"
        members += [(f"{key}.png", content), (f"{key}.cls", str(number % 10).encode()), (f"{key}.txt", b"a")]
    return members


@pytest.fixture
def tars(tmp_path: Path, pngs: list[bytes]) -> Path:
    """A folder of two tars, the second compressed."""
    write_tar(tmp_path / "tars" / "a.tar", members_of(pngs[:40], first=0))
    write_tar(tmp_path / "tars" / "b.tar.gz", members_of(pngs[40:], first=40), mode="w:gz")
    return tmp_path / "tars"


def test_webdataset_tars(encode: Command, tmp_path: Path, tars: Path, expected: np.ndarray) -> None:
    status, out, _ = encode(tars, tmp_path / "out")
    assert status == 0
    # A tar is a shard, whatever --rows-per-shard says.
    assert "70 images, 0 of them failed, in 2 shards" in out
    rows = rows_of(tmp_path / "out")
    np.testing.assert_array_equal(rows["tokens"], expected)
    assert rows["id"][39:41] == ["a.tar/0039.png", "b.tar.gz/0040.png"]
    assert rows["source"][39:41] == ["a.tar", "b.tar.gz"]
    assert rows["label"] == [str(number % 10) for number in range(NUM_IMAGES)]


def test_a_single_tar_and_a_pattern(
    encode: Command, tmp_path: Path, tars: Path, expected: np.ndarray
) -> None:
    encode(tars / "a.tar", tmp_path / "one")
    np.testing.assert_array_equal(rows_of(tmp_path / "one")["tokens"], expected[:40])
    encode(f"{tars}/b*", tmp_path / "pattern")
    np.testing.assert_array_equal(rows_of(tmp_path / "pattern")["tokens"], expected[40:])


def test_a_tar_that_breaks_off_keeps_what_came_before_and_fails(
    encode: Command, tmp_path: Path, tars: Path, expected: np.ndarray
) -> None:
    whole = (tars / "a.tar").read_bytes()
    (tars / "a.tar").write_bytes(whole[: len(whole) // 2 + 100])
    status, _, err = encode(tars, tmp_path / "out")
    assert status == 3
    assert err.startswith("failed: a.tar: unreadable: the tar cannot be read to its end (")
    rows = rows_of(tmp_path / "out")
    num_read = rows["status"].index("failed")
    assert 15 < num_read < 25
    np.testing.assert_array_equal(rows["tokens"][:num_read], expected[:num_read])
    (tars / "a.tar").write_bytes(whole)
    assert encode(tars, tmp_path / "out", "--retry-failed")[0] == 0
    np.testing.assert_array_equal(rows_of(tmp_path / "out")["tokens"], expected)


def test_several_images_of_one_sample_and_folders_in_a_tar(
    encode: Command, tmp_path: Path, pngs: list[bytes], expected: np.ndarray
) -> None:
    members = [("x/1.cls", b"7"), ("x/1.left.png", pngs[0]), ("x/1.right.png", pngs[1]), ("y/1.png", pngs[2])]
    write_tar(tmp_path / "pairs.tar", members)
    encode(tmp_path / "pairs.tar", tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    np.testing.assert_array_equal(rows["tokens"], expected[:3])
    assert rows["id"] == ["pairs.tar/x/1.left.png", "pairs.tar/x/1.right.png", "pairs.tar/y/1.png"]
    assert rows["label"] == ["7", "7", None]


@pytest.fixture
def table(pngs: list[bytes]) -> pa.Table:
    """Images as Hugging Face stores them, one of them missing, with labels and names."""
    images = [{"bytes": content, "path": None} for content in pngs]
    return pa.table(
        {
            "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "label": pa.array([number % 3 for number in range(NUM_IMAGES)], pa.int64()),
            "name": [f"image-{number}" for number in range(NUM_IMAGES)],
        }
    )


@pytest.mark.parametrize("rows_per_group", [7, 100])
def test_parquet(
    encode: Command, tmp_path: Path, table: pa.Table, expected: np.ndarray, rows_per_group: int
) -> None:
    (tmp_path / "table").mkdir()
    pq.write_table(table.slice(0, 50), tmp_path / "table" / "a.parquet", row_group_size=rows_per_group)
    pq.write_table(table.slice(50), tmp_path / "table" / "b.parquet", row_group_size=rows_per_group)
    assert encode(tmp_path / "table", tmp_path / "out")[0] == 0
    rows = rows_of(tmp_path / "out")
    np.testing.assert_array_equal(rows["tokens"], expected)
    assert rows["id"][49:51] == ["a.parquet/49", "b.parquet/0"]
    assert rows["label"] == [str(number % 3) for number in range(NUM_IMAGES)]


def test_pieces_of_a_large_table_begin_where_others_end(
    encode: Command, tmp_path: Path, pngs: list[bytes], expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kohonen_tokenizer.batch.sources import tables

    monkeypatch.setattr(tables, "_PIECE_ROWS", 10)
    table = pa.table({"picture": pa.array(pngs, pa.binary())})
    pq.write_table(table, tmp_path / "table.parquet", row_group_size=6)
    with (
        pa.OSFile(str(tmp_path / "table.arrow"), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=6)
    for name in ("table.parquet", "table.arrow"):
        assert encode(tmp_path / name, tmp_path / f"out-{name}")[0] == 0
        rows = rows_of(tmp_path / f"out-{name}")
        np.testing.assert_array_equal(rows["tokens"], expected)
        assert rows["id"] == [f"{name}/{row}" for row in range(NUM_IMAGES)]
        manifest = json.loads((tmp_path / f"out-{name}" / "_manifest.json").read_bytes())
        assert [shard["num_images"] for shard in manifest["shards"]] == [12] * 5 + [10]


def test_columns_may_be_named(encode: Command, tmp_path: Path, table: pa.Table) -> None:
    table = table.append_column("thumbnail", table["image"]).rename_columns(
        ["image", "class", "name", "tiny"]
    )
    pq.write_table(table, tmp_path / "a.parquet")
    status, _, err = encode(tmp_path / "a.parquet", tmp_path / "out")
    assert status == 2
    assert err == (
        "error: a.parquet: 2 columns may hold images (image, tiny); name one with --image-column\n"
    )
    for option, column, reason in (
        ("--image-column", "pixels", "a.parquet has no column pixels; it has image, class, name, tiny"),
        ("--image-column", "name", "a.parquet: column name is of type string; give one of binary"),
    ):
        status, _, err = encode(tmp_path / "a.parquet", tmp_path / "out", option, column)
        assert status == 2
        assert reason in err
    options = ["--image-column", "tiny", "--label-column", "class", "--id-column", "name"]
    assert encode(tmp_path / "a.parquet", tmp_path / "out", *options)[0] == 0
    rows = rows_of(tmp_path / "out")
    assert rows["id"][:2] == ["image-0", "image-1"]
    assert rows["label"][:3] == ["0", "1", "2"]


def test_a_row_without_bytes_is_a_failed_one(encode: Command, tmp_path: Path, pngs: list[bytes]) -> None:
    pq.write_table(pa.table({"image": pa.array([pngs[0], None], pa.binary())}), tmp_path / "a.parquet")
    status, _, err = encode(tmp_path / "a.parquet", tmp_path / "out")
    assert (status, err) == (3, "failed: a.parquet/1: unreadable: the row holds no image bytes\n")


def test_a_hugging_face_dataset_on_disk(
    encode: Command, tmp_path: Path, table: pa.Table, expected: np.ndarray
) -> None:
    """As datasets 3 and 4 write it: Arrow streams that state.json lists, and caches beside them."""
    folder = tmp_path / "dataset" / "train"
    folder.mkdir(parents=True)
    (tmp_path / "dataset" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    files = []
    for number, part in enumerate((table.slice(0, 40), table.slice(40))):
        files.append({"filename": f"data-{number:05d}-of-00002.arrow"})
        write_stream(folder / files[-1]["filename"], part)
    (folder / "state.json").write_text(json.dumps({"_data_files": files, "_split": "train"}))
    write_stream(folder / "cache-123.arrow", table)
    assert encode(tmp_path / "dataset", tmp_path / "out")[0] == 0
    rows = rows_of(tmp_path / "out")
    np.testing.assert_array_equal(rows["tokens"], expected)
    assert rows["source"][0] == "train/data-00000-of-00002.arrow"
    assert rows["label"][:3] == ["0", "1", "2"]


def write_stream(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=16)


def test_a_list_of_paths(
    encode: Command, tmp_path: Path, photos: Path, random_images: np.ndarray, tiny_model: TinyModel
) -> None:
    with fsspec.open("memory://listed/one.png", "wb") as file:
        file.write((photos / "dog" / "069.png").read_bytes())
    lines = [
        "photos/cat/005.png\t3",
        "",
        str(photos / "dog" / "031.png"),
        "photos/none.png",
        "memory://listed/one.png",
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    assert encode(tmp_path / "list.txt", tmp_path / "out")[0] == 3
    rows = rows_of(tmp_path / "out")
    assert rows["id"] == ["photos/cat/005.png", *lines[2:]]
    assert rows["label"] == ["3", None, None, None]
    assert rows["status"] == ["ok", "ok", "failed", "ok"]
    tokens = tiny_model.encode(random_images[[5, 31, 69]]).reshape(3, 4).tolist()
    assert rows["tokens"] == [tokens[0], tokens[1], None, tokens[2]]


def test_from_one_file_system_to_another(
    encode: Command, run: Command, tmp_path: Path, photos: Path, expected: np.ndarray
) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(photos), "/remote/photos", recursive=True)
    assert encode("memory://remote/photos", "memory://remote/out")[0] == 0
    memory.rm("/remote/out/_job/00002.json")
    status, out, _ = encode("memory://remote/photos", "memory://remote/out", "--json")
    assert (status, json.loads(out)["num_shards_this_run"]) == (0, 1)
    assert run("verify", "memory://remote/out")[0] == 0
    memory.get("/remote/out", str(tmp_path / "out"), recursive=True)
    np.testing.assert_array_equal(rows_of(tmp_path / "out")["tokens"], expected)
    encode(photos, tmp_path / "local")
    assert (tmp_path / "local" / "00001.parquet").read_bytes() == memory.cat("/remote/out/00001.parquet")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "has no image files, tars, Parquet or Arrow files"),
        (["a.txt"], "has no image files, tars, Parquet or Arrow files"),
        (["a.jpg", "b.tar"], "has folder (a.jpg) and webdataset (b.tar); name one with --source-kind"),
        (["a.parquet"], "a.parquet cannot be read ("),
    ],
)
def test_folders_that_are_no_source(
    encode: Command, tmp_path: Path, names: Sequence[str], reason: str
) -> None:
    (tmp_path / "source").mkdir()
    for name in names:
        (tmp_path / "source" / name).write_bytes(b"")
    status, _, err = encode(tmp_path / "source", tmp_path / "out")
    assert status == 2
    assert reason in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out" / "_job" / "plan.json").exists()


@pytest.mark.parametrize("source", ["nowhere", "no*where", "nosuchprotocol://x"])
def test_nothing_is_there(encode: Command, tmp_path: Path, source: str) -> None:
    status, _, err = encode(source, tmp_path / "out")
    assert status == 2
    assert err.startswith(f"error: {source}: ")
