"""The bundle on disk: the service loads it, and what fails leaves nothing behind."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from kohonen_tokenizer.export import bundle
from kohonen_tokenizer.export.bundle_files import write_bundle
from kohonen_tokenizer.export.errors import BundleRefusedError, ParityError, TargetError
from kohonen_tokenizer.export.graphs import DecoderGraph, EncoderGraph
from kohonen_tokenizer.service.errors import BundleFileError
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

GRAPH_FILES = [
    f"{half}.{suffix}" for half in ("decoder", "encoder") for suffix in ("onnx", "pt2", "torchscript.pt")
]


class OffByOne(EncoderGraph):
    def forward(self, pixels):
        return (super().forward(pixels) + 1) % 12


class TwoLevelsBrighter(DecoderGraph):
    def forward(self, tokens):
        return (super().forward(tokens).int() + 2).clamp(0, 255).to(torch.uint8)


class OtherInputName(EncoderGraph):
    input_name = "image"


@pytest.fixture
def export(checkpoint, test_images, card, written, monkeypatch):
    """Export with graphs that are written already: for tests that are about what comes after."""

    def export(out, *, overwrite=False, graphs=written):
        monkeypatch.setattr(bundle, "write_graphs", lambda model, *, image_size: graphs)
        return bundle.export_bundle(checkpoint, out, images=test_images, card=card, overwrite=overwrite)

    return export


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_bundle_has_its_documented_files(exported):
    assert sorted(content(exported.folder)) == sorted(["codebook.safetensors", "manifest.json", *GRAPH_FILES])
    assert sorted(path.name for path in exported.folder.parent.iterdir()) == ["photos-12", "photos-12.zip"]


@pytest.mark.parametrize("batch", [1, 3, 60])
def test_the_service_gives_the_checkpoints_tokens_and_pixels(exported, model, test_images, batch):
    tokenizer = Tokenizer.load(exported.folder)
    pixels = test_images[:batch]
    tokens = tokenizer.encode(pixels.numpy())
    np.testing.assert_array_equal(tokens, model.encode(pixels).numpy())
    decoded = tokenizer.decode(tokens).astype(int)
    assert np.abs(decoded - model.decode(torch.from_numpy(tokens)).numpy()).max() <= 1


def test_the_service_has_the_checkpoints_map(exported, model):
    tokenizer = Tokenizer.load(exported.folder)
    np.testing.assert_array_equal(tokenizer.codebook.vectors, model.quantizer.codebook.numpy())
    np.testing.assert_array_equal(tokenizer.codebook.coordinates, model.quantizer.grid.coordinates().numpy())
    assert tokenizer.manifest == exported.manifest


def test_the_zip_holds_the_same_files_and_loads(exported, test_images):
    with zipfile.ZipFile(exported.archive) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        assert {name: archive.read(name) for name in archive.namelist()} == content(exported.folder)
    from_zip, from_folder = Tokenizer.load(exported.archive), Tokenizer.load(exported.folder)
    pixels = test_images.numpy()
    np.testing.assert_array_equal(from_zip.encode(pixels), from_folder.encode(pixels))


def test_equal_bundles_are_equal_archives(exported, tmp_path):
    files = content(exported.folder)
    del files["manifest.json"]
    for name, order in (("one", sorted(files)), ("two", sorted(files, reverse=True))):
        write_bundle({name: files[name] for name in order}, tmp_path / name, manifest=exported.manifest)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert (tmp_path / "one.zip").read_bytes() == exported.archive.read_bytes()


@pytest.mark.parametrize("name", ["codebook.safetensors", *GRAPH_FILES])
def test_a_changed_file_is_refused(exported, tmp_path, name):
    for file, data in content(exported.folder).items():
        changed = data[:-1] + bytes([data[-1] ^ 1]) if file == name else data
        (tmp_path / file).write_bytes(changed)
    with pytest.raises(BundleFileError, match=name):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("half", "graph", "reason"),
    [
        ("encoder", OffByOne, "batch of 1: 16 of 16 tokens differ"),
        (
            "decoder",
            TwoLevelsBrighter,
            "batch of 1: pixels differ from the checkpoint's by up to [23] levels",
        ),
    ],
)
def test_a_broken_graph_is_not_written(export, model, rewritten, tmp_path, half, graph, reason):
    graphs = rewritten("torchscript", **{half: graph(model, image_size=16)})
    with pytest.raises(ParityError, match=f"^torchscript {half}, {reason}"):
        export(tmp_path / "photos-12", graphs=graphs)
    assert list(tmp_path.iterdir()) == []


def test_what_the_service_would_refuse_is_not_written(export, model, rewritten, tmp_path):
    graphs = rewritten("onnx", encoder=OtherInputName(model, image_size=16))
    with pytest.raises(BundleRefusedError, match=r"would refuse this bundle: encoder\.onnx: input is image"):
        export(tmp_path / "photos-12", graphs=graphs)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("taken", ["photos-12", "photos-12.zip"])
def test_what_is_there_is_not_replaced_unasked(export, tmp_path, taken):
    (tmp_path / taken).mkdir()
    with pytest.raises(TargetError, match=f"{taken}: exists; .*--overwrite"):
        export(tmp_path / "photos-12")
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_overwrite_replaces_folder_and_zip(export, exported, tmp_path):
    out = tmp_path / "photos-12"
    out.mkdir()
    for name in ("manifest.json", "of-an-older-bundle.onnx"):
        (out / name).write_text("{}")
    (tmp_path / "photos-12.zip").write_text("old")
    export(out, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos-12", "photos-12.zip"]
    assert content(out).keys() == content(exported.folder).keys()
    Tokenizer.load(out)
    Tokenizer.load(tmp_path / "photos-12.zip")


def test_overwrite_spares_a_folder_that_is_no_bundle(export, tmp_path):
    (tmp_path / "photos-12").mkdir()
    (tmp_path / "photos-12" / "diary.txt").write_text("dear diary")
    with pytest.raises(TargetError, match="is no bundle, so it is not replaced"):
        export(tmp_path / "photos-12", overwrite=True)
    assert (tmp_path / "photos-12" / "diary.txt").read_text() == "dear diary"


def test_a_failed_overwrite_leaves_the_old_bundle(export, model, rewritten, tmp_path):
    out = tmp_path / "photos-12"
    export(out)
    before = content(out), (tmp_path / "photos-12.zip").read_bytes()
    with pytest.raises(ParityError):
        export(out, overwrite=True, graphs=rewritten("torchscript", encoder=OffByOne(model, image_size=16)))
    assert (content(out), (tmp_path / "photos-12.zip").read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos-12", "photos-12.zip"]


def test_a_rename_that_fails_puts_the_old_bundle_back(export, tmp_path, monkeypatch):
    out = tmp_path / "photos-12"
    export(out)
    before = content(out)
    rename = Path.rename

    def refuse_the_new(self, target):
        if self.name == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(TargetError, match=r"cannot be written.*No space left on device"):
        export(out, overwrite=True)
    assert content(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos-12", "photos-12.zip"]


def test_a_place_that_cannot_be_written_is_named(export, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetError, match="file/photos-12: cannot be written"):
        export(tmp_path / "file" / "photos-12")
