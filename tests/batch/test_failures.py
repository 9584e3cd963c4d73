"""Images that do not decode: they keep their rows, are told, limited, and done again."""

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from .conftest import NUM_IMAGES, Command, files_of


@pytest.fixture
def broken(photos: Path) -> Path:
    """The photos, of which one is truncated, one is empty, and one of a format that is not read."""
    path = photos / "cat" / "003.png"
    path.write_bytes(path.read_bytes()[:60])
    (photos / "cat" / "020.png").write_bytes(b"")
    (photos / "dog" / "040.gif").write_bytes(b"GIF89a")
    return photos


def test_a_bad_image_keeps_its_row(encode: Command, tmp_path: Path, broken: Path) -> None:
    status, out, err = encode(broken, tmp_path / "out")
    assert status == 3
    assert "71 images, 3 of them failed" in out
    assert [line.split(": ")[:3] for line in err.splitlines()] == [
        ["failed", "cat/003.png", "undecodable_image"],
        ["failed", "cat/020.png", "undecodable_image"],
        ["failed", "dog/040.gif", "unsupported_image_format"],
    ]
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "out").to_pylist()}
    assert len(rows) == NUM_IMAGES + 1
    row = rows["cat/003.png"]
    assert (row["status"], row["tokens"], row["width"], row["label"]) == ("failed", None, None, "cat")
    assert row["error"].startswith("undecodable_image: the PNG image does not decode")
    assert row["sha256"] == hashlib.sha256((broken / "cat" / "003.png").read_bytes()).hexdigest()
    assert rows["cat/004.png"]["status"] == "ok"


def test_failures_are_in_the_result_for_schedulers(encode: Command, tmp_path: Path, broken: Path) -> None:
    status, out, err = encode(broken, tmp_path / "out", "--json")
    assert (status, err) == (3, "")
    result = json.loads(out)
    assert result["num_failed"] == 3
    assert [failure["id"] for failure in result["failures"]] == ["cat/003.png", "cat/020.png", "dog/040.gif"]


def test_an_image_of_another_size_under_strict_resizing_has_its_size_told(
    encode: Command, tmp_path: Path, photos: Path, crop_photos: object
) -> None:
    from PIL import Image

    Image.new("RGB", (9, 7)).save(photos / "cat" / "000.png")
    assert encode(photos, tmp_path / "out", "--resize", "strict")[0] == 3
    row = pq.read_table(tmp_path / "out").to_pylist()[0]
    assert (row["id"], row["width"], row["height"], row["status"]) == ("cat/000.png", 9, 7, "failed")
    assert row["error"].startswith("image_size_mismatch: the image is 9 x 7")


def test_a_file_that_cannot_be_read_is_a_failed_row(encode: Command, tmp_path: Path, photos: Path) -> None:
    (photos / "cat" / "100.png").symlink_to(tmp_path / "nowhere.png")
    assert encode(photos, tmp_path / "out")[0] == 3
    row = next(row for row in pq.read_table(tmp_path / "out").to_pylist() if row["status"] == "failed")
    assert (row["id"], row["sha256"]) == ("cat/100.png", None)
    assert row["error"] == "unreadable: the file cannot be read (No such file or directory)"


def test_strict_stops_at_the_first_and_can_be_carried_on(
    encode: Command, tmp_path: Path, broken: Path
) -> None:
    encode(broken, tmp_path / "unbroken")
    out = tmp_path / "out"
    status, stdout, err = encode(broken, out, "--strict")
    assert (status, stdout) == (4, "")
    assert err.startswith("error: cat/003.png: undecodable_image: ")
    assert "1 images failed in this run, and the limit is 0" in err
    assert not (out / "_manifest.json").exists()
    assert encode(broken, out)[0] == 3
    assert files_of(out) == files_of(tmp_path / "unbroken")


def test_max_errors_bears_so_many(encode: Command, tmp_path: Path, broken: Path) -> None:
    status, _, err = encode(broken, tmp_path / "two", "--max-errors", "2")
    assert status == 4
    assert err.startswith("error: dog/040.gif: unsupported_image_format: ")
    # The shards before the one where it stopped are complete.
    assert sorted(path.name for path in (tmp_path / "two").glob("*.parquet")) == [
        "00000.parquet",
        "00001.parquet",
    ]
    assert encode(broken, tmp_path / "three", "--max-errors", "3")[0] == 3


def test_retry_failed_redoes_them_alone_to_the_bytes_of_a_clean_run(
    encode: Command, tmp_path: Path, photos: Path
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    shutil.copytree(photos, whole)
    encode(whole, tmp_path / "clean")
    bad = photos / "cat" / "003.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n")
    encode(photos, out)
    # A good image is not read again: what is there now would fail.
    (photos / "cat" / "004.png").write_bytes(b"")
    shutil.copy(whole / "cat" / "003.png", bad)
    assert encode(photos, out)[0] == 3  # without being told to, a job leaves complete shards alone
    status, stdout, _ = encode(photos, out, "--retry-failed", "--json")
    assert status == 0
    assert json.loads(stdout)["num_shards_this_run"] == 1
    assert files_of(out) == files_of(tmp_path / "clean")
