"""encode SOURCE DEST: what it writes, how it resumes, what it refuses."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kohonen_tokenizer import atomic_file
from kohonen_tokenizer.batch.rows import METADATA_KEY

from .conftest import NUM_IMAGES, Command, TinyModel, files_of


def test_a_folder_becomes_rows_in_the_order_of_its_names(
    encode: Command, tmp_path: Path, photos: Path, random_images: np.ndarray, tiny_model: TinyModel
) -> None:
    status, out, err = encode(photos, tmp_path / "out")
    assert (status, err) == (0, "")
    assert "70 images, 0 of them failed, in 5 shards" in out
    table = pq.read_table(tmp_path / "out")
    rows = table.to_pydict()
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    assert rows["id"] == rows["source"] == paths
    assert rows["label"] == ["cat"] * 30 + ["dog"] * 40
    assert rows["status"] == ["ok"] * NUM_IMAGES
    assert rows["error"] == [None] * NUM_IMAGES
    assert rows["width"] == rows["height"] == [8] * NUM_IMAGES
    assert str(table.schema.field("tokens").type) == "list<element: uint16>"
    np.testing.assert_array_equal(rows["tokens"], tiny_model.encode(random_images).reshape(-1, 4))


def test_every_file_says_what_it_is_of(
    encode: Command, tmp_path: Path, photos: Path, tiny_bundle: Path
) -> None:
    encode(photos, tmp_path / "out")
    bundle = json.loads((tiny_bundle / "manifest.json").read_bytes())
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_bytes())
    identity = manifest["identity"]
    assert identity["model"] == "tiny-colors"
    assert identity["model_sha256"] == bundle["files"]["encoder.onnx"]["sha256"]
    assert [level["name"] for level in identity["levels"]] == ["tokens"]
    assert identity["levels"][0]["codebook_sha256"] == bundle["levels"][0]["codebook_sha256"]
    assert identity["preprocessing"]["resize"] == "crop"
    assert (manifest["num_images"], manifest["num_failed"]) == (NUM_IMAGES, 0)
    for shard in manifest["shards"]:
        metadata = pq.read_schema(tmp_path / "out" / shard["file"]).metadata
        assert json.loads(metadata[METADATA_KEY]) == identity


def test_tokens_are_dictionary_encoded_and_compressed(encode: Command, tmp_path: Path, photos: Path) -> None:
    encode(photos, tmp_path / "out")
    group = pq.ParquetFile(tmp_path / "out" / "00000.parquet").metadata.row_group(0)
    columns = {
        group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)
    }
    tokens = columns["tokens.list.element"]
    assert tokens.compression == "ZSTD"
    assert tokens.has_dictionary_page
    assert not columns["sha256"].has_dictionary_page


@pytest.mark.parametrize("options", [["--batch-size", "1"], ["--batch-size", "7"], ["--num-threads", "2"]])
def test_bytes_do_not_depend_on_batches_and_threads(
    encode: Command, tmp_path: Path, photos: Path, options: list[str]
) -> None:
    encode(photos, tmp_path / "once", "--num-threads", "1")
    encode(photos, tmp_path / "again", *options)
    shards = {name: content for name, content in files_of(tmp_path / "once").items() if "parquet" in name}
    assert len(shards) == 6
    again = files_of(tmp_path / "again")
    assert {name: again[name] for name in shards} == shards


def test_a_rerun_does_only_what_is_missing(encode: Command, tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    encode(photos, out)
    before = files_of(out)
    (out / "00001.parquet").unlink()  # its record is there still
    (out / "_job" / "00003.json").unlink()  # its shard is there still
    (out / "_job" / "00004.json").write_bytes(b"{")
    (out / ".00002.parquet.7.tmp").write_bytes(b"what a killed process left")
    untouched = (out / "00000.parquet").stat().st_mtime_ns
    status, stdout, _ = encode(photos, out, "--json")
    assert status == 0
    result = json.loads(stdout)
    assert (result["num_shards_this_run"], result["num_images_this_run"]) == (3, 16 + 16 + 6)
    assert (result["num_images"], result["num_shards"]) == (NUM_IMAGES, 5)
    assert files_of(out) == before
    assert (out / "00000.parquet").stat().st_mtime_ns == untouched


def test_a_finished_job_has_nothing_to_do(encode: Command, tmp_path: Path, photos: Path) -> None:
    encode(photos, tmp_path / "out")
    status, out, _ = encode(photos, tmp_path / "out", "--json")
    assert (status, json.loads(out)["num_images_this_run"]) == (0, 0)


def test_dry_run_says_what_would_be_done(encode: Command, tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    status, stdout, err = encode(photos, out, "--dry-run")
    assert (status, err) == (0, "")
    assert stdout.startswith("folder: 70 images in 5 shards, 5 of them to do\n")
    assert not out.exists()
    encode(photos, out)
    (out / "_job" / "00003.json").unlink()
    before = files_of(out)
    status, stdout, _ = encode(photos, out, "--dry-run", "--json")
    assert (status, json.loads(stdout)) == (
        0,
        {
            "source_kind": "folder",
            "num_images": 70,
            "num_shards": 5,
            "num_shards_complete": 4,
            "num_shards_to_do": 1,
            "num_images_done": 54,
        },
    )
    assert files_of(out) == before


def test_another_policy_is_refused(encode: Command, tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    encode(photos, out)
    before = files_of(out)
    for options, reason in (
        (["--resize", "strict"], 'holds tokens with preprocessing {"version":1,'),
        (["--rows-per-shard", "17"], "was begun with rows_per_shard 16, and this job's is 17"),
    ):
        status, stdout, err = encode(photos, out, *options)
        assert (status, stdout) == (2, "")
        assert err.startswith(f"error: {out} {reason}")
        assert err.count("\n") == 1
    assert files_of(out) == before


def test_another_bundle_is_refused(
    run: Command,
    encode: Command,
    make_bundle: object,
    tiny_files: dict[str, bytes],
    tmp_path: Path,
    photos: Path,
) -> None:
    assert callable(make_bundle)
    encode(photos, tmp_path / "out")
    other = make_bundle(tiny_files, name="another")
    status, _, err = run(
        "encode", photos, tmp_path / "out", "--bundle", other, "--rows-per-shard", "16", "--device", "cpu"
    )
    assert status == 2
    assert "holds tokens with model tiny-colors, and this job's is another; give another DEST" in err


def test_a_source_that_has_changed_is_refused_unless_wanted(
    encode: Command, tmp_path: Path, photos: Path
) -> None:
    out = tmp_path / "out"
    encode(photos, out)
    before = files_of(out)
    (out / "_job" / "00000.json").unlink()
    shutil.copy(photos / "dog" / "069.png", photos / "dog" / "070.png")
    status, _, err = encode(photos, out)
    assert status == 2
    assert f"the source has changed since {out} was begun: 71 images now, 70 images then" in err
    assert encode(photos, out, "--as-planned")[0] == 0
    assert files_of(out) == before


def test_a_full_disk_ends_in_a_line_and_the_job_carries_on(
    encode: Command, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    encode(photos, tmp_path / "unbroken")
    sync = atomic_file.sync

    def full(path: Path) -> None:
        if path.name.startswith(".00002.parquet"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        sync(path)

    with monkeypatch.context() as patched:
        patched.setattr(atomic_file, "sync", full)
        status, stdout, err = encode(photos, out)
    assert (status, stdout) == (2, "")
    assert err == (
        f"error: {out}/00002.parquet: No space left on device; mend that, and the same command carries on\n"
    )
    assert sorted(path.name for path in out.glob("*")) == ["00000.parquet", "00001.parquet", "_job"]
    status, stdout, _ = encode(photos, out, "--json")
    assert (status, json.loads(stdout)["num_shards_this_run"]) == (0, 3)
    assert files_of(out) == files_of(tmp_path / "unbroken")


def test_a_destination_that_is_no_folder(encode: Command, tmp_path: Path, photos: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    status, _, err = encode(photos, tmp_path / "file" / "out")
    assert status == 2
    assert err.startswith(f"error: {tmp_path}/file/out/_job: Not a directory; mend that")


def test_a_destination_inside_the_source_is_refused(encode: Command, photos: Path) -> None:
    status, _, err = encode(photos, photos / "tokens")
    assert (status, err) == (
        2,
        f"error: DEST {photos}/tokens lies in SOURCE, which it would change; give another folder\n",
    )
    assert not (photos / "tokens").exists()


def test_a_link_to_a_folder_above_is_not_followed(encode: Command, tmp_path: Path, photos: Path) -> None:
    (photos / "cat" / "all").symlink_to(photos)
    (photos / "more").symlink_to(photos / "dog")
    status, out, _ = encode(photos, tmp_path / "out", "--json")
    assert (status, json.loads(out)["num_images"]) == (0, NUM_IMAGES + 40)


def test_two_jobs_at_once_on_one_destination(encode: Command, tmp_path: Path, photos: Path) -> None:
    import fcntl

    encode(photos, tmp_path / "out")
    with (tmp_path / "out" / "_job" / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, err = encode(photos, tmp_path / "out")
    assert status == 2
    assert err.startswith(f"error: another job is at work on {tmp_path}/out; wait for it")


def test_a_folder_alone_lacks_its_destination(run: Command, photos: Path, tiny_bundle: Path) -> None:
    status, _, err = run("encode", photos, "--bundle", tiny_bundle)
    assert status == 2
    assert err == f"error: {photos} is a folder; to make a dataset of it give DEST too, a folder\n"


def test_options_of_a_job_are_refused_for_single_images(
    run: Command, photos: Path, tiny_bundle: Path
) -> None:
    status, _, err = run("encode", photos / "cat" / "000.png", "--bundle", tiny_bundle, "--strict")
    assert status == 2
    assert err.startswith("error: --strict is for a dataset; give SOURCE and DEST")
