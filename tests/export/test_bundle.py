"""The bundle on disk: the service loads it, and what fails leaves nothing behind."""

import dataclasses
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from kohonen_tokenizer.export import bundle
from kohonen_tokenizer.export.bundle_files import write_bundle
from kohonen_tokenizer.export.errors import BundleRefusedError, ExportError, ParityError, TargetError
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
    def forward(self, *tokens):
        return (super().forward(*tokens).int() + 2).clamp(0, 255).to(torch.uint8)


class OtherInputName(EncoderGraph):
    def __init__(self, model, *, image_size):
        super().__init__(model, image_size=image_size)
        self.input_names = ("image",)


@pytest.fixture
def taken(exported, tmp_path):
    """A place with an older bundle of another name and with one file less, as folder and .zip."""
    out = tmp_path / "photos-12"
    shutil.copytree(exported.folder, out)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["name"] = "older"
    del manifest["graphs"]["torch_export"], manifest["files"]["encoder.pt2"]
    (out / "encoder.pt2").unlink()
    (out / "manifest.json").write_text(json.dumps(manifest))
    with zipfile.ZipFile(tmp_path / "photos-12.zip", "w") as archive:
        for path in out.iterdir():
            archive.write(path, path.name)
    return out


@pytest.fixture
def export(checkpoint, test_images, card, written, monkeypatch):
    """Export with graphs that are written already: for tests that are about what comes after."""

    def export(out, *, overwrite=False, graphs=written):
        monkeypatch.setattr(bundle, "write_graphs", lambda model, *, image_size: graphs)
        return bundle.export_bundle(checkpoint, out, images=test_images, card=card, overwrite=overwrite)

    return export


def content(folder):
    """Everything below `folder`, hidden or not."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_the_bundle_has_its_documented_files(exported):
    assert sorted(content(exported.folder)) == sorted(["codebook.safetensors", "manifest.json", *GRAPH_FILES])
    assert sorted(path.name for path in exported.folder.parent.iterdir()) == ["photos-12", "photos-12.zip"]


@pytest.mark.parametrize("batch", [1, 3, 60])
def test_the_service_gives_the_checkpoints_tokens_and_pixels(exported, model, test_images, batch):
    tokenizer = Tokenizer.load(exported.folder)
    pixels = test_images[:batch]
    tokens = tokenizer.encode(pixels.numpy())
    np.testing.assert_array_equal(tokens, model.encode(pixels)["tokens"].numpy())
    decoded = tokenizer.decode(tokens).astype(int)
    assert np.abs(decoded - model.decode({"tokens": torch.from_numpy(tokens)}).numpy()).max() <= 1


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


@pytest.mark.parametrize("name", ["photos-12", "photos-12.zip"])
def test_what_is_there_is_not_replaced_unasked(export, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(TargetError, match=f"{name}: exists; .*--overwrite"):
        export(tmp_path / "photos-12")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_overwrite_replaces_folder_and_zip(export, exported, taken):
    export(taken, overwrite=True)
    assert sorted(path.name for path in taken.parent.iterdir()) == ["photos-12", "photos-12.zip"]
    assert content(taken).keys() == content(exported.folder).keys()
    for path in (taken, taken.with_name("photos-12.zip")):
        assert Tokenizer.load(path).manifest.name == "photos-12"


WEB_APP = {"manifest.json": '{"name": "a web app", "icons": []}', "index.html": "<p>dear diary</p>"}


@pytest.mark.parametrize(
    "files", [WEB_APP, {"diary.txt": "dear diary"}, {}], ids=["web app", "diary", "empty"]
)
def test_overwrite_spares_a_folder_that_is_no_bundle(export, tmp_path, files):
    (tmp_path / "photos-12").mkdir()
    for name, text in files.items():
        (tmp_path / "photos-12" / name).write_text(text)
    before = content(tmp_path)
    with pytest.raises(TargetError, match="photos-12: is no bundle, so it is not replaced"):
        export(tmp_path / "photos-12", overwrite=True)
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "files", [WEB_APP, {"diary.txt": "dear diary"}, None], ids=["web app", "diary", "no zip"]
)
def test_overwrite_spares_a_zip_that_is_no_bundle(export, tmp_path, files):
    archive = tmp_path / "photos-12.zip"
    if files is None:
        archive.write_text("dear diary")
    else:
        with zipfile.ZipFile(archive, "w") as target:
            for name, text in files.items():
                target.writestr(name, text)
    before = content(tmp_path)
    with pytest.raises(TargetError, match=r"photos-12\.zip: is no bundle, so it is not replaced"):
        export(tmp_path / "photos-12", overwrite=True)
    assert content(tmp_path) == before


def test_overwrite_spares_what_lies_with_a_bundle(export, taken):
    (taken / "notes").mkdir()
    before = content(taken.parent)
    with pytest.raises(TargetError, match="photos-12: holds 'notes', which is not of the bundle"):
        export(taken, overwrite=True)
    assert content(taken.parent) == before


def test_overwrite_spares_what_was_zipped_with_a_bundle(export, taken):
    with zipfile.ZipFile(taken.with_name("photos-12.zip"), "a") as archive:
        archive.writestr("notes.txt", "dear diary")
    before = content(taken.parent)
    with pytest.raises(TargetError, match=r"photos-12\.zip: holds 'notes\.txt', which is not of the bundle"):
        export(taken, overwrite=True)
    assert content(taken.parent) == before


def test_a_failed_overwrite_leaves_the_old_bundle(export, model, rewritten, taken):
    before = content(taken.parent)
    with pytest.raises(ParityError):
        export(taken, overwrite=True, graphs=rewritten("torchscript", encoder=OffByOne(model, image_size=16)))
    assert content(taken.parent) == before


@pytest.fixture
def no_renames(monkeypatch):
    """Have the disk refuse the renames of paths by the names given, or of all that is put back."""
    rename = Path.rename

    def no_renames(*names, back=True):
        def refuse(self, target):
            put_back = self.parent.name.endswith("-previous")
            if (self.name in names and not put_back) or (put_back and not back):
                raise OSError(28, "No space left on device")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", refuse)

    return no_renames


@pytest.mark.parametrize("name", ["photos-12", "new", "photos-12.zip", "new.zip"])
def test_a_rename_that_fails_puts_the_old_bundle_back(export, taken, no_renames, name):
    before = content(taken.parent)
    no_renames(name)
    with pytest.raises(TargetError, match=r"photos-12: cannot be written \(No space left on device\)"):
        export(taken, overwrite=True)
    assert content(taken.parent) == before


def test_a_rename_that_fails_leaves_no_half(export, tmp_path, no_renames):
    no_renames("new.zip")
    with pytest.raises(TargetError, match="cannot be written"):
        export(tmp_path / "photos-12")
    assert content(tmp_path) == {}


def test_an_old_bundle_that_cannot_be_put_back_is_kept(export, taken, no_renames):
    before = content(taken)
    no_renames("new", back=False)
    with pytest.raises(TargetError, match="holds what was there, and it could not be put back") as error:
        export(taken, overwrite=True)
    kept = Path(str(error.value).split(":")[0])
    assert content(kept / "photos-12") == before


def test_the_root_is_no_place_for_a_bundle(export):
    with pytest.raises(TargetError, match=r"^/: has no name to give the \.zip; name a folder in it"):
        export(Path("/"))


@pytest.fixture
def no_graphs(monkeypatch):
    """Graphs may not be written: for tests of what has to be found before."""

    def write_graphs(model, *, image_size):
        pytest.fail("graphs are written")

    monkeypatch.setattr(bundle, "write_graphs", write_graphs)


@pytest.mark.usefixtures("no_graphs")
def test_too_few_images_are_found_before_graphs_are_written(checkpoint, test_images, card, tmp_path):
    with pytest.raises(ExportError, match="19 images to compare on: at least 20 are needed"):
        bundle.export_bundle(checkpoint, tmp_path / "photos-12", images=test_images[:19], card=card)


@pytest.mark.usefixtures("no_graphs")
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["encoder.layers.0.weight", "quantizer.codebook", "decoder.layers.0.bias"])
def test_weights_that_are_no_numbers_are_refused(checkpoint, test_images, card, tmp_path, name, value):
    weights = {**checkpoint.weights, name: torch.full_like(checkpoint.weights[name], value)}
    diverged = dataclasses.replace(checkpoint, weights=weights)
    with pytest.raises(
        ExportError, match=f"{name} has values that are NaN or infinite; export an earlier"
    ) as error:
        bundle.export_bundle(diverged, tmp_path / "photos-12", images=test_images, card=card)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(export, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetError, match="file/photos-12: cannot be written"):
        export(tmp_path / "file" / "photos-12")
