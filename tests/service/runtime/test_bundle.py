import io
import json
import os
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kohonen_tokenizer.service.errors import (
    BundleError,
    BundleFileError,
    BundleNotFoundError,
    ManifestError,
)
from kohonen_tokenizer.service.runtime.bundle import MAX_MANIFEST_BYTES, load_bundle
from kohonen_tokenizer.service.runtime.manifest import Manifest

MakeBundle = Callable[..., Path]


@pytest.fixture
def folder(make_bundle: MakeBundle, tiny_files: dict[str, bytes]) -> Path:
    """A tiny bundle to be damaged."""
    return make_bundle(tiny_files)


def zipped(folder: Path, *, prefix: str = "", method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.iterdir()):
            archive.writestr(prefix + file.name, file.read_bytes())
    return path


def assert_one_line_without(error: BundleError, folder: Path) -> None:
    assert "\n" not in str(error)
    assert str(folder) not in str(error)
    assert str(folder.parent) not in str(error)


def test_a_folder_and_its_zip_give_the_same_bundle(folder: Path, tiny_files: dict[str, bytes]) -> None:
    for path in (folder, zipped(folder)):
        bundle = load_bundle(path)
        assert bundle.manifest.name == "tiny-colors"
        assert bundle.encoder == tiny_files["encoder.onnx"]
        assert bundle.decoder == tiny_files["decoder.onnx"]
        assert bundle.codebooks["tokens"].vectors.shape == (12, 3)
        assert list(bundle.codebooks) == ["tokens"]


def test_a_file_that_the_manifest_does_not_list_is_ignored(folder: Path) -> None:
    (folder / "README.md").write_text("a model card")
    assert load_bundle(folder).manifest.name == "tiny-colors"
    assert load_bundle(zipped(folder)).manifest.name == "tiny-colors"


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", "codebook.safetensors"])
@pytest.mark.parametrize("as_zip", [False, True])
def test_one_changed_byte_is_refused(folder: Path, name: str, as_zip: bool) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(
        BundleFileError, match=f"^{name} has sha256 [0-9a-f]{{64}}, and the manifest says"
    ) as caught:
        load_bundle(zipped(folder) if as_zip else folder)
    assert_one_line_without(caught.value, folder)


@pytest.mark.parametrize(("change", "found"), [(b"", "0"), (None, "more than")])
@pytest.mark.parametrize("as_zip", [False, True])
def test_a_file_of_another_length_is_refused(
    folder: Path, change: bytes | None, found: str, as_zip: bool
) -> None:
    path = folder / "encoder.onnx"
    path.write_bytes(path.read_bytes() + b"x" if change is None else change)
    with pytest.raises(
        BundleFileError, match=rf"^encoder.onnx has {found}.* bytes, and the manifest says \d+"
    ):
        load_bundle(zipped(folder) if as_zip else folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "manifest.json"])
@pytest.mark.parametrize("as_zip", [False, True])
def test_a_missing_file_is_refused(folder: Path, name: str, as_zip: bool) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleFileError, match=rf"^{name} is missing") as caught:
        load_bundle(zipped(folder) if as_zip else folder)
    assert_one_line_without(caught.value, folder)


def test_files_that_the_service_does_not_run_are_verified_too(
    make_bundle: MakeBundle, tiny_files: dict[str, bytes]
) -> None:
    folder = make_bundle(tiny_files | {"encoder.pt2": b"graph", "decoder.pt2": b"graph"})
    assert "encoder.pt2" in load_bundle(folder).manifest.files
    (folder / "decoder.pt2").write_bytes(b"Graph")
    with pytest.raises(BundleFileError, match=r"^decoder\.pt2 has sha256"):
        load_bundle(folder)


def test_a_pipe_in_place_of_a_file_does_not_block(folder: Path) -> None:
    (folder / "encoder.onnx").unlink()
    os.mkfifo(folder / "encoder.onnx")
    with pytest.raises(BundleFileError, match=r"^encoder\.onnx is missing"):
        load_bundle(folder)


def test_a_file_that_may_not_be_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not by its mode, which does not stop a test that runs as root.
    def refuse(path: Path, *_: object) -> io.BytesIO:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        BundleFileError, match=r"^manifest.json cannot be read \(Permission denied\)"
    ) as caught:
        load_bundle(folder)
    assert_one_line_without(caught.value, folder)


def test_what_is_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="nothing is there"):
        load_bundle(tmp_path / "nowhere")
    (tmp_path / "photo.zip").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(BundleNotFoundError, match=r"no \.zip"):
        load_bundle(tmp_path / "photo.zip")
    with pytest.raises(BundleFileError, match=r"manifest\.json is missing"):
        load_bundle(tmp_path)


def test_a_manifest_without_end_is_refused_before_it_is_parsed(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(ManifestError, match="more than 4194304 bytes"):
        load_bundle(folder)


def test_more_bytes_than_a_bundle_may_have_are_refused_unread(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["encoder.onnx"]["bytes"] = 2**40
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleFileError, match="is the limit"):
        load_bundle(folder)


def test_a_short_file_takes_little_memory_however_long_its_manifest_says(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["encoder.onnx"]["bytes"] = 8 * 2**30
    (folder / "manifest.json").write_text(json.dumps(manifest))
    tracemalloc.start()
    try:
        with pytest.raises(BundleFileError, match=r"^encoder\.onnx has \d+ bytes, and the manifest says 858"):
            load_bundle(folder)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_two_levels_of_one_name_are_refused(
    tiny_bundle: Path,
) -> None:
    content = json.loads((tiny_bundle / "manifest.json").read_bytes())
    content["levels"] *= 2
    with pytest.raises(ManifestError, match="levels has two of the same name: tokens, tokens"):
        Manifest.from_json(json.dumps(content).encode())


def test_a_zip_of_the_folder_itself_says_how_to_zip(folder: Path) -> None:
    with pytest.raises(BundleFileError, match="zip the files of the bundle themselves"):
        load_bundle(zipped(folder, prefix="bundle/"))


@pytest.mark.parametrize("name", ["../encoder.onnx", "/etc/encoder.onnx", "..\\encoder.onnx"])
def test_a_zip_with_names_that_lead_elsewhere_is_refused(folder: Path, name: str) -> None:
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(BundleFileError, match="without their folder"):
        load_bundle(path)


def test_a_zip_with_a_name_twice_is_refused(folder: Path) -> None:
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("encoder.onnx", b"another graph")
    with pytest.raises(BundleFileError, match=r"'encoder\.onnx' more than once"):
        load_bundle(path)


def test_a_zip_that_unpacks_to_far_more_than_it_says_is_not_unpacked(folder: Path) -> None:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "manifest.json", "manifest.json")
        for name in ("encoder.onnx", "decoder.onnx", "codebook.safetensors"):
            archive.writestr(name, b"\0" * 2**26)
    with pytest.raises(BundleFileError, match=r"^encoder\.onnx has more than \d+ bytes"):
        load_bundle(path)


def test_a_stored_zip_is_read(folder: Path) -> None:
    assert load_bundle(zipped(folder, method=zipfile.ZIP_STORED)).manifest.name == "tiny-colors"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_of_another_compression_is_refused(folder: Path, method: int) -> None:
    with pytest.raises(BundleFileError, match=r"'codebook\.safetensors' by another method than deflate"):
        load_bundle(zipped(folder, method=method))


def test_an_encrypted_zip_is_refused(folder: Path) -> None:
    path = zipped(folder)
    content = bytearray(path.read_bytes())
    # The flag of the first entry in the archive's directory says so.
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(BundleFileError, match=r"cannot be read \(File .* is encrypted"):
        load_bundle(path)


def test_a_damaged_zip_entry_is_refused(folder: Path) -> None:
    path = zipped(folder)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("encoder.onnx")
    start = entry.header_offset + 30 + len("encoder.onnx")
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(BundleFileError, match=r"^encoder\.onnx cannot be read"):
        load_bundle(path)


def test_the_bytes_that_were_hashed_are_the_bytes_that_run(
    folder: Path, tiny_files: dict[str, bytes]
) -> None:
    bundle = load_bundle(folder)
    shutil.rmtree(folder)
    assert bundle.encoder == tiny_files["encoder.onnx"]
    assert bundle.decoder == tiny_files["decoder.onnx"]
