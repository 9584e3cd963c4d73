"""WebDataset tars to write: the members of a sample share a name and differ in what follows the dot."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from kohonen_tokenizer.atomic_file import new_file

from .errors import DatasetError


def write_tar(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> int:
    """Put a tar of `samples`, each an id and its members by suffix, at `path`; return how many there are.

    Dots in ids become underscores, as readers take what follows the first dot for the suffix.

    Raises:
        DatasetError: an id that is no relative path.
        OSError: the folder cannot be written or is full.
    """
    num_samples = 0
    with new_file(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
        for identifier, members in samples:
            folder, slash, name = relative_path(identifier).rpartition("/")
            key = folder + slash + name.replace(".", "_")
            for suffix, content in members.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            num_samples += 1
    return num_samples


def relative_path(identifier: str) -> str:
    """`identifier` as a path below a folder: of a URL or an absolute path, what follows the root.

    Raises:
        DatasetError: it would leave the folder.
    """
    path = PurePosixPath(identifier.partition("://")[2] or identifier)
    relative = path.relative_to("/") if path.is_absolute() else path
    if ".." in relative.parts or not relative.parts:
        raise DatasetError(f"the id {identifier!r} is no name of a file in a folder; export arrays instead")
    return relative.as_posix()
