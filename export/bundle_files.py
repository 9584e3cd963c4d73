"""A bundle's files on disk: a folder and its .zip, in their places only once they are whole and proven."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from kohonen_tokenizer.atomic_file import sync
from kohonen_tokenizer.service.errors import TokenizerError
from kohonen_tokenizer.service.runtime.manifest import MANIFEST_FILE, Manifest
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from .errors import BundleRefusedError, TargetError

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a .zip can hold, given to every file in it."""

UNIX = 3
"""Whose file modes the .zip has, on whatever system it was made."""


def archive_path(folder: Path) -> Path:
    """Where the .zip of a bundle's ``folder`` lies."""
    return folder.with_name(f"{folder.name}.zip")


def check_target(folder: Path, *, overwrite: bool) -> None:
    """Raise TargetError if a bundle may not be written to ``folder`` and its .zip beside it.

    What is overwritten has to be a bundle: a mistyped name must not cost someone a folder of other things.
    """
    for path in (folder, archive_path(folder)):
        if path.exists() and not overwrite:
            raise TargetError(f"{path}: exists; name another folder, or use --overwrite to replace it")
    if folder.exists() and not (folder / MANIFEST_FILE).is_file():
        raise TargetError(f"{folder}: is no bundle, so it is not replaced; name another folder")
    if archive_path(folder).is_dir():
        raise TargetError(f"{archive_path(folder)}: is a folder; remove it, or name another folder")


def write_bundle(files: Mapping[str, bytes], folder: Path, *, manifest: Manifest) -> None:
    """Write ``files`` and ``manifest`` to ``folder`` and its .zip, replacing what is there.

    Both are written under other names in the same place, loaded as the service loads them, and then renamed.
    Raises BundleRefusedError when they do not load and TargetError when the disk refuses; then what was there
    before is there still.
    """
    # The manifest comes last: a folder that has one has all that it lists.
    content = {**dict(sorted(files.items())), MANIFEST_FILE: manifest.to_json()}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
            temporary = Path(name)
            _write_folder(content, temporary / "new")
            _write_archive(content, temporary / "new.zip")
            for path in (temporary / "new", temporary / "new.zip"):
                _load_as_the_service(path)
            _replace_folder(folder, by=temporary / "new", old=temporary / "old")
            (temporary / "new.zip").replace(archive_path(folder))
            sync(folder.parent)
    except OSError as error:
        raise TargetError(
            f"{folder}: cannot be written ({error.strerror}); name a folder that can, with room on its disk"
        ) from None


def _load_as_the_service(path: Path) -> None:
    try:
        Tokenizer.load(path)
    except TokenizerError as error:
        raise BundleRefusedError(
            f"the service would refuse this bundle: {error.message}; nothing is written"
        ) from None


def _replace_folder(folder: Path, *, by: Path, old: Path) -> None:
    """Rename ``by`` to ``folder``, and what was there to ``old``."""
    if not folder.exists():
        by.rename(folder)
        return
    folder.rename(old)
    try:
        by.rename(folder)
    except OSError:
        old.rename(folder)
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
