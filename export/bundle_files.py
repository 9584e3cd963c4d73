"""A bundle's files on disk: a folder and its .zip, in their places only once they are whole and proven."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from kohonen_tokenizer.atomic_file import sync
from kohonen_tokenizer.service.errors import TokenizerError
from kohonen_tokenizer.service.runtime.backends import load_backend
from kohonen_tokenizer.service.runtime.bundle import MAX_MANIFEST_BYTES, load_bundle
from kohonen_tokenizer.service.runtime.bundle_files import open_bundle_files
from kohonen_tokenizer.service.runtime.manifest import MANIFEST_FILE, Manifest
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from .errors import BundleRefusedError, TargetError

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a .zip can hold, given to every file in it."""

UNIX = 3
"""Whose file modes the .zip has, on whatever system it was made."""


def archive_path(folder: Path) -> Path:
    """Where the .zip of a bundle's ``folder`` lies. Raises TargetError for the root, which has no name."""
    if not folder.name:
        raise TargetError(f"{folder}: has no name to give the .zip; name a folder in it")
    return folder.with_name(f"{folder.name}.zip")


def check_target(folder: Path, *, overwrite: bool) -> None:
    """Raise TargetError if a bundle may not be written to ``folder`` and its .zip beside it.

    What is overwritten has to be a bundle, with no file that its manifest does not list: a mistyped name must
    not cost someone a folder of other things.
    """
    for path in (folder, archive_path(folder)):
        if path.exists():
            if not overwrite:
                raise TargetError(f"{path}: exists; name another folder, or use --overwrite to replace it")
            _check_only_bundle(path)


def write_bundle(files: Mapping[str, bytes], folder: Path, *, manifest: Manifest) -> None:
    """Write ``files`` and ``manifest`` to ``folder`` and its .zip, replacing what is there.

    Both are written under other names in the same place, loaded as the service loads them, and then renamed.
    Raises BundleRefusedError when they do not load and TargetError when the disk refuses; then what was there
    before is there still. A kill or a crash between the renames, four in a row when both are replaced, is not
    undone: either can then be missing, or older than the other. What is there is whole even so, and what was
    there before lies in the hidden folder .NAME-...-previous beside it.
    """
    # The manifest comes last: a folder that has one has all that it lists.
    content = {**dict(sorted(files.items())), MANIFEST_FILE: manifest.to_json()}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
            new_folder, new_archive = Path(name) / "new", Path(name) / "new.zip"
            _write_folder(content, new_folder)
            _write_archive(content, new_archive)
            for path in (new_folder, new_archive):
                _load_as_the_service(path)
            previous = Path(f"{name}-previous")
            _replace({folder: new_folder, archive_path(folder): new_archive}, previous=previous)
    except OSError as error:
        raise TargetError(
            f"{folder}: cannot be written ({error.strerror}); name a folder that can, with room on its disk"
        ) from None
    shutil.rmtree(previous)


def _check_only_bundle(path: Path) -> None:
    """Raise TargetError unless ``path`` holds a bundle's manifest and nothing but what that lists."""
    try:
        with open_bundle_files(path) as files:
            manifest = Manifest.from_json(files.read(MANIFEST_FILE, max_bytes=MAX_MANIFEST_BYTES))
    except TokenizerError as error:
        raise TargetError(
            f"{path}: is no bundle, so it is not replaced ({error.message}); "
            "name another folder, or remove it"
        ) from None
    if path.is_dir():
        names = {entry.name for entry in path.iterdir()}
    else:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    foreign = sorted(names - {MANIFEST_FILE, *manifest.files})
    if foreign:
        raise TargetError(
            f"{path}: holds {foreign[0]!r}, which is not of the bundle, so it is not replaced; "
            "name another folder, or move that elsewhere"
        )


def _load_as_the_service(path: Path) -> None:
    try:
        # Not Tokenizer.load, whose errors begin with a path: this one is gone when they are read.
        bundle = load_bundle(path)
        Tokenizer(bundle, backend=load_backend(bundle))
    except TokenizerError as error:
        raise BundleRefusedError(
            f"the service would refuse this bundle: {error.message}; nothing is written"
        ) from None


def _replace(targets: Mapping[Path, Path], *, previous: Path) -> None:
    """Rename what each target is given to the target's name: all of them, or on an error none.

    What was there is then in the new folder ``previous``. Raises OSError, and TargetError should it have to
    stay there.
    """
    previous.mkdir()
    try:
        with ExitStack() as undo:
            undo.callback(previous.rmdir)
            for target, new in targets.items():
                if target.exists():
                    old = previous / target.name
                    target.rename(old)
                    undo.callback(old.rename, target)
                new.rename(target)
                undo.callback(target.rename, new)
            sync(previous.parent)
            undo.pop_all()
    except OSError:
        if previous.exists():
            raise TargetError(
                f"{previous}: holds what was there, and it could not be put back; move it back"
            ) from None
        raise


def _write_folder(content: Mapping[str, bytes], folder: Path) -> None:
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
        sync(folder / name)
    sync(folder)


def _write_archive(content: Mapping[str, bytes], path: Path) -> None:
    """Sorted, uncompressed (weights do not shrink) and without times: equal files give an equal archive."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in sorted(content.items()):
            entry = zipfile.ZipInfo(name, date_time=ZIP_EPOCH)
            entry.create_system = UNIX
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    sync(path)
