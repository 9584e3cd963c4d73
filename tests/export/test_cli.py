"""The command `export`, called as a user calls it."""

import json
import shutil
from functools import partial

import pytest

from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer


@pytest.fixture
def run(run):
    """Run the command `export`."""
    return partial(run, "export")


def test_a_run_becomes_a_bundle_with_its_metrics(run, run_folder, checkpoint, data_folder, tmp_path):
    metrics = {"checkpoint_sha256": checkpoint.weights_sha256, "psnr": 24.5}
    (tmp_path / "test.json").write_text(json.dumps(metrics))
    out = tmp_path / "bundles" / "photos"
    status, output, errors = run(
        run_folder, out, "--metrics", tmp_path / "test.json", "--data", data_folder,
        "--license", "CC0-1.0", "--description", "Photos.",
    )  # fmt: skip
    assert (status, errors) == (0, "")
    manifest = Tokenizer.load(out).manifest
    assert manifest.metrics == metrics
    assert (manifest.license, manifest.description) == ("CC0-1.0", "Photos.")
    lines = output.splitlines()
    assert lines[0] == str(out)
    assert any(f"{manifest.files['encoder.onnx'].bytes:,} bytes" in line for line in lines)
    assert "pixels within" in lines[-1]

    again, output, errors = run(run_folder, out)
    assert (again, output) == (2, "")
    assert errors == f"error: {out}: exists; name another folder, or use --overwrite to replace it\n"


def test_errors_of_training_and_export_are_one_line(run, run_folder, tmp_path):
    for arguments, reason in (
        ((run_folder, "/"), "/: has no name to give the .zip; name a folder in it"),
        ((tmp_path, tmp_path / "out"), "no checkpoint"),
        ((run_folder, tmp_path / "out", "--metrics", tmp_path / "none.json"), "cannot be read"),
        ((run_folder, tmp_path / "out", "--data", tmp_path / "none"), "no such folder"),
    ):
        status, output, errors = run(*arguments)
        assert (status, output) == (2, "")
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        assert reason in errors
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_run_is_refused(run, run_folder, data_folder, tmp_path):
    shutil.copytree(data_folder, tmp_path / "data")
    (tmp_path / "data" / "train" / "000.png").unlink()
    status, output, errors = run(run_folder, tmp_path / "out", "--data", tmp_path / "data")
    assert (status, output) == (2, "")
    assert "other images than these" in errors
    assert errors.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
