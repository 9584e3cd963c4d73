"""From what a user names to the source that it is."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from ..errors import SourceError
from ..storage import Storage
from .files import IMAGE_SUFFIXES, FolderSource, ListSource
from .source import Kind, Source
from .tables import ArrowSource, ParquetSource, files_of_dataset, find_columns, read_schema
from .tars import TarSource, is_tar

_TABLE_SUFFIXES: dict[Kind, str] = {"parquet": ".parquet", "arrow": ".arrow"}


def open_source(
    url: str,
    *,
    kind: Kind | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
) -> Source:
    """The images at `url`, a path or an fsspec URL of a folder or a file, or a pattern with * of files.

    Args:
        url: a folder of image files, of WebDataset tars, or of Parquet or Arrow files (a Hugging Face dataset
            on disk is one); one such tar or file; or a .txt file with a path a line.
        kind: what it is; without it, what the names of the files say.
        image_column: of a table, the column of images; without it, the only one that may be.
        label_column: the column of labels; without it, `label` where there is one.
        id_column: the column of unique names; without it, a row is named by its file and its number.

    Raises:
        SourceError: nothing is there, or it is no source of images, or one of several kinds.
    """
    storage, paths = _locate(url)
    if kind is None:
        is_list = paths is not None and all(path.lower().endswith(".txt") for path in paths)
        kind = "list" if is_list else _guess(storage.walk() if paths is None else iter(paths), url=url)
    if kind == "folder":
        if paths is not None:
            raise SourceError(f"{url} is no folder; list the files in a .txt file and give that")
        return FolderSource(storage)
    if kind == "list":
        return ListSource(Storage(url))
    if kind == "webdataset":
        return TarSource(storage, paths=paths)
    paths = paths or _tables(storage, suffix=_TABLE_SUFFIXES[kind])
    if not paths:
        raise SourceError(f"{url} has no {_TABLE_SUFFIXES[kind]} files; give a folder that has")
    columns = find_columns(
        read_schema(storage, paths[0]),
        path=paths[0],
        image=image_column,
        label=label_column,
        identifier=id_column,
    )
    make = ParquetSource if kind == "parquet" else ArrowSource
    return make(storage, paths=paths, columns=columns)


def _locate(url: str) -> tuple[Storage, list[str] | None]:
    """The folder, and the files in it that are named; None for all."""
    storage = Storage(url)
    if storage.is_folder():
        return storage, None
    if storage.is_file():
        return storage.parent, [storage.name]
    if "*" in url:
        folder = Storage(url[: url.index("*")].rpartition("/")[0] or ".")
        pattern = url[url[: url.index("*")].rfind("/") + 1 :]
        if paths := folder.glob(pattern):
            return folder, paths
    raise SourceError(f"{url}: nothing is there; give a folder or a file of images")


def _guess(paths: Iterator[str], *, url: str) -> Kind:
    """The kind that the files have in common; of those of no kind, such as a README, nothing is said."""
    found: dict[Kind, str] = {}
    for path in paths:
        kind = _kind_of(path)
        if kind is not None:
            found.setdefault(kind, path)
            if len(found) > 1:
                (first, a), (second, b) = found.items()
                raise SourceError(f"{url} has {first} ({a}) and {second} ({b}); name one with --source-kind")
    if not found:
        raise SourceError(f"{url} has no image files, tars, Parquet or Arrow files; give a folder that has")
    return next(iter(found))


def _kind_of(path: str) -> Kind | None:
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "folder"
    if is_tar(path):
        return "webdataset"
    return next((kind for kind, its_suffix in _TABLE_SUFFIXES.items() if suffix == its_suffix), None)


def _tables(storage: Storage, *, suffix: str) -> list[str]:
    """The tables below; of a Hugging Face dataset, or one in the folder of a split, those that it lists."""
    paths = []
    listed: dict[str, set[str] | None] = {}
    for path in storage.walk():
        if not path.lower().endswith(suffix):
            continue
        folder, slash, name = path.rpartition("/")
        if folder not in listed:
            listed[folder] = files_of_dataset(storage, folder=folder + slash)
        files = listed[folder]
        if files is None or name in files:
            paths.append(path)
    return paths
