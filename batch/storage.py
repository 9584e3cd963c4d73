"""One folder, on this machine or behind an fsspec URL: what a job reads from and writes to.

Paths are relative to the folder, with forward slashes.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from kohonen_tokenizer.atomic_file import sync, write_atomically

from .errors import SourceError


class Storage:
    """A folder. A local one is read without fsspec's detours, and what is written to it outlives a crash.

    Can be pickled, and works in another process.
    """

    def __init__(self, url: str) -> None:
        """Take a path or an fsspec URL, such as s3://bucket/images.

        Raises:
            SourceError: a URL of no file system that is installed here.
        """
        self.url = url
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise SourceError(f"{url}: {error}; give a path, or a URL of an installed file system") from None
        self.is_local = isinstance(self._fs, LocalFileSystem)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self._root).name

    @property
    def parent(self) -> "Storage":
        """The folder around it."""
        parent = self._fs._parent(self._root)
        return Storage(parent if self.is_local else self._fs.unstrip_protocol(parent))

    def local_path(self, path: str = "") -> Path:
        """Where `path` is on this machine; of a local storage only."""
        return Path(self._root, path)

    def is_inside(self, other: "Storage") -> bool:
        """Whether it is `other` or lies in it."""
        return self._fs == other._fs and PurePosixPath(self._root).is_relative_to(other._root)

    def is_file(self, path: str = "") -> bool:
        """Whether a file is there."""
        return self.local_path(path).is_file() if self.is_local else bool(self._fs.isfile(self._at(path)))

    def is_folder(self, path: str = "") -> bool:
        """Whether a folder is there."""
        return self.local_path(path).is_dir() if self.is_local else bool(self._fs.isdir(self._at(path)))

    def walk(self) -> Iterator[str]:
        """Every file below, hidden ones left out, in an order that depends on the names alone.

        One folder at a time is held in memory. The files of a folder come before those of its folders.
        """
        folders = [""]
        while folders:
            folder = folders.pop()
            names, subfolders = self._list(folder)
            prefix = f"{folder}/" if folder else ""
            yield from (prefix + name for name in sorted(names))
            folders += (prefix + name for name in sorted(subfolders, reverse=True))

    def file_names(self, folder: str) -> set[str]:
        """The names of the files in `folder`; none where there is no folder."""
        return set(self._list(folder)[0]) if self.is_folder(folder) else set()

    def glob(self, pattern: str) -> list[str]:
        """The files that match `pattern`, sorted."""
        found = cast("list[str]", self._fs.glob(self._at(pattern)))
        return sorted(path.removeprefix(self._root).lstrip("/") for path in found)

    def size(self, path: str) -> int | None:
        """The bytes of a file; None where there is no file."""
        try:
            return (
                self.local_path(path).stat().st_size if self.is_local else int(self._fs.size(self._at(path)))
            )
        except FileNotFoundError:
            return None

    def read(self, path: str = "") -> bytes:
        """The content of a file."""
        if self.is_local:
            # Cheaper than pathlib's way by a fifth of the time that a small file takes.
            with open(os.path.join(self._root, path) if path else self._root, "rb", buffering=0) as file:  # noqa: PTH118, PTH123
                return file.read()
        return cast("bytes", self._fs.cat_file(self._at(path)))

    def read_many(self, paths: Sequence[str]) -> Iterator[bytes | Exception]:
        """The content of each file or why there is none; a remote file system fetches them at once."""
        if self.is_local:
            for path in paths:
                try:
                    yield self.read(path)
                except OSError as error:
                    yield error
            return
        found = self._fs.cat([self._at(path) for path in paths], on_error="return")
        for path in paths:
            yield found[self._at(path)]

    def open(self, path: str = "") -> BinaryIO:
        """A file to read from."""
        return cast("BinaryIO", self._fs.open(self._at(path), "rb"))

    def write(self, path: str, content: bytes) -> None:
        """Put `content` at `path`, whole or not at all, replacing what is there.

        Raises:
            OSError: it cannot be written; what was there is there still.
        """
        if self.is_local:
            target = self.local_path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, content)
            # The name too: a commit record must not outlive the shard that it stands for.
            sync(target.parent)
        else:
            # Object stores show an object when its upload is complete.
            self._fs.makedirs(self._fs._parent(self._at(path)), exist_ok=True)
            self._fs.pipe_file(self._at(path), content)

    def remove_temporary_files(self) -> None:
        """Remove what a killed process had not finished writing; no other may be writing now."""
        if self.is_local:
            for folder in (self.local_path(), *filter(Path.is_dir, self.local_path().iterdir())):
                for path in folder.glob(".*.tmp"):
                    path.unlink()

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        if self.is_local:
            self.local_path(path).unlink(missing_ok=True)
        elif self._fs.exists(self._at(path)):
            self._fs.rm_file(self._at(path))

    def _list(self, folder: str) -> tuple[list[str], list[str]]:
        """The names of the files and of the folders in `folder`."""
        files: list[str] = []
        folders: list[str] = []
        if self.is_local:
            with os.scandir(self.local_path(folder)) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and not _is_loop(entry):
                        (folders if entry.is_dir() else files).append(entry.name)
            return files, folders
        for entry in self._fs.ls(self._at(folder), detail=True):
            name = PurePosixPath(entry["name"]).name
            if not name.startswith("."):
                (folders if entry["type"] == "directory" else files).append(name)
        return files, folders

    def _at(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}" if path else self._root


def _is_loop(entry: os.DirEntry[str]) -> bool:
    """Whether it is a link to a folder that it lies in: to follow it would list everything many times."""
    return entry.is_symlink() and Path(entry.path).parent.resolve().is_relative_to(Path(entry.path).resolve())
