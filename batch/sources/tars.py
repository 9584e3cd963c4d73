"""WebDataset: tars in which the files of a sample follow each other and share their name up to the first dot.

The format is read with the standard library: what the package webdataset adds, shuffling, splitting over
processes and decoding, is what a job must do by its own rules, and it stops at a truncated tar or goes on in
silence.
"""

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Self

from ..storage import Storage
from .files import IMAGE_SUFFIXES
from .source import Kind, Piece, Sample

_LABEL_SUFFIX = ".cls"


class TarSource:
    """The image members of tars, compressed or not; a sample's `cls` member is the label of its images."""

    kind: Kind = "webdataset"

    def __init__(self, storage: Storage, *, paths: Sequence[str] | None) -> None:
        """Take the folder and the tars in it; without `paths`, all that are there or below."""
        self.storage = storage
        self.is_local = storage.is_local
        self._paths = paths
        self.columns: dict[str, str] = {}

    def pieces(self) -> Iterator[Piece]:
        """One for each tar: what is in one shows only when it has been read."""
        for path in self.storage.walk() if self._paths is None else self._paths:
            if is_tar(path):
                yield Piece(path)

    def samples(self, pieces: Sequence[Piece]) -> Iterator[Sample]:
        """The images in the tars. A tar that breaks off ends in a failed sample, named as the tar."""
        for piece in pieces:
            try:
                with (
                    self.storage.open(piece.path) as file,
                    tarfile.open(fileobj=file, mode="r|*", tarinfo=_Member) as tar,
                ):
                    yield from _images(tar, path=piece.path)
            # The standard library raises ValueError on numbers in headers that are none, and TypeError on a
            # header of gzip that breaks off.
            except (OSError, EOFError, ValueError, TypeError, tarfile.TarError) as error:
                yield Sample(
                    piece.path, piece.path, None, None, f"the tar cannot be read to its end ({error})"
                )


class _Member(tarfile.TarInfo):
    """A member whose header must be sound: after the first, tarfile takes any other for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it breaks off before its end mark")
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise tarfile.ReadError(f"a header is damaged: {error}") from None
            raise  # the end mark


def is_tar(path: str) -> bool:
    """Whether the name is that of a tar."""
    return path.lower().endswith((".tar", ".tar.gz", ".tgz"))


def _images(tar: tarfile.TarFile, *, path: str) -> Iterator[Sample]:
    key: str | None = None
    images: list[tuple[str, bytes]] = []
    label: str | None = None
    for member in tar:
        if not member.isfile():
            continue
        if member.issparse():
            # Its holes take no room in the tar, and all that they claim in memory.
            raise tarfile.ReadError(f"{member.name[:100]!r} is a sparse file; store files whole")
        file = tar.extractfile(member)
        assert file is not None  # it is None for folders and the like
        content = file.read()
        member_key = _key(member.name)
        if member_key != key:
            yield from _samples(images, path=path, label=label)
            key, images, label = member_key, [], None
        suffix = PurePosixPath(member.name).suffix.lower()
        if suffix == _LABEL_SUFFIX:
            label = content.decode(errors="replace").strip()
        elif suffix in IMAGE_SUFFIXES:
            images.append((member.name, content))
    yield from _samples(images, path=path, label=label)


def _key(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _samples(images: Sequence[tuple[str, bytes]], *, path: str, label: str | None) -> Iterator[Sample]:
    return (Sample(f"{path}/{name}", path, label, content) for name, content in images)
