"""The manifest repeats the checkpoint, and refuses figures of another one."""

import dataclasses
import json
from datetime import UTC, datetime

import onnx
import pytest
import torch

import kohonen_tokenizer
from kohonen_tokenizer.export.errors import BundleRefusedError, ExportError, MetricsError
from kohonen_tokenizer.export.manifest import (
    ModelCard,
    build_manifest,
    read_metrics,
    validation_metrics,
)
from kohonen_tokenizer.export.parity import Parity
from kohonen_tokenizer.service.runtime.manifest import GraphFiles, Manifest, codebook_sha256, sha256_hex
from kohonen_tokenizer.service.runtime.silent_onnxruntime import onnxruntime

FILES = {"encoder.onnx": b"e", "decoder.onnx": b"d", "codebook.safetensors": b"c"}
GRAPHS = {"onnx": GraphFiles(encoder="encoder.onnx", decoder="decoder.onnx")}
PARITY = Parity(
    formats=("onnx",),
    batches=(1, 2, 17),
    top2_margin=1e-5,
    num_tokens=640,
    equal_share=1.0,
    num_inside_margin=0,
    max_pixel_difference=1,
)


@pytest.fixture
def build(checkpoint):
    def build(checkpoint=checkpoint, **card):
        card = ModelCard(**{"metrics": {}} | card)
        return build_manifest(
            checkpoint, files=FILES, graphs=GRAPHS, model=checkpoint.model(), parity=PARITY, card=card
        )

    return build


def test_values_are_the_checkpoints(build, checkpoint):
    manifest = build()
    config = checkpoint.config
    assert manifest.name == config.name
    assert manifest.license == "MIT"
    assert manifest.description == "16x16 images as tokens of a codebook of 12, trained on photo crops"
    assert (manifest.image.height, manifest.image.width) == (16, 16)
    assert manifest.checkpoint.sha256 == checkpoint.weights_sha256
    assert manifest.checkpoint.step == 40
    assert manifest.training_data.model_dump() == {
        "name": "photo crops",
        "num_images": 112,
        "license": "as scikit-learn ships them",
    }
    assert {**manifest.training, "model": manifest.architecture} == config.to_dict()


def test_the_level_describes_the_codebook(build, checkpoint):
    (level,) = build().levels
    assert (level.name, level.latent_grid, level.map_shape) == ("tokens", (4, 4), (3, 4))
    assert (level.codebook_size, level.code_dim, level.codebook_file) == (12, 6, "codebook.safetensors")
    assert level.codebook_sha256 == codebook_sha256(checkpoint.model().quantizer.codebook.numpy())


def test_files_are_listed_with_hash_and_size(build):
    files = build().files
    assert list(files) == sorted(FILES)
    assert all(files[name].sha256 == sha256_hex(content) for name, content in FILES.items())
    assert all(record.bytes == 1 for record in files.values())


def test_versions_are_those_at_work(build):
    versions = build().versions
    assert versions["kohonen-tokenizer"] == kohonen_tokenizer.__version__
    assert versions["torch"] == torch.__version__
    assert versions["onnx"] == onnx.__version__
    assert versions["onnxruntime"] == onnxruntime.__version__
    assert set(versions) == {"kohonen-tokenizer", "torch", "onnx", "onnxruntime", "python"}


def test_parity_and_card_are_repeated(build):
    manifest = build(metrics={"psnr": 24.5}, license="CC0-1.0", description="Photos.")
    assert manifest.parity["equal_share"] == 1.0
    assert manifest.parity["batches"] == [1, 2, 17]
    assert manifest.metrics == {"psnr": 24.5}
    assert (manifest.license, manifest.description) == ("CC0-1.0", "Photos.")
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_created_is_now_in_utc(build, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    before = datetime.now(UTC).replace(microsecond=0)
    assert before <= build().created <= datetime.now(UTC)


def test_source_date_epoch_sets_created(build, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert build().to_json().count(b'"created": "2023-11-14T22:13:20Z"') == 1


@pytest.mark.parametrize("value", ["soon", "", "9" * 30])
def test_source_date_epoch_has_to_be_seconds(build, monkeypatch, value):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    with pytest.raises(ExportError, match=r"SOURCE_DATE_EPOCH .* whole number of seconds"):
        build()


def test_a_metric_that_is_no_number_is_refused(build):
    with pytest.raises(
        BundleRefusedError, match=r"cannot hold metrics\.psnr.* nan: .*; correct the run's config"
    ):
        build(metrics={"psnr": float("nan")})


def test_the_last_validation_stands_in_for_metrics(checkpoint):
    last = checkpoint.validations[-1]
    assert validation_metrics(checkpoint) == {"validation": dataclasses.asdict(last)}
    assert validation_metrics(dataclasses.replace(checkpoint, validations=())) == {}


def test_metrics_of_this_checkpoint_are_read(checkpoint, tmp_path):
    metrics = {"checkpoint_sha256": checkpoint.weights_sha256, "psnr": 24.5}
    (tmp_path / "test.json").write_text(json.dumps(metrics))
    assert read_metrics(tmp_path / "test.json", checkpoint=checkpoint) == metrics


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"checkpoint_sha256": "abc", "psnr": 24.5}', "checkpoint_sha256 is abc, and the checkpoint's is"),
        ('{"psnr": 24.5}', "checkpoint_sha256 is None"),
        ("[1, 2]", "checkpoint_sha256 is None"),
        ("psnr 24.5", "not JSON"),
        (b"\xff", "not JSON"),
        (None, "cannot be read"),
    ],
)
def test_other_metrics_are_refused(checkpoint, tmp_path, content, reason):
    path = tmp_path / "test.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MetricsError, match=reason):
        read_metrics(path, checkpoint=checkpoint)
