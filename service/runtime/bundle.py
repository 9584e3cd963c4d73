"""A verified bundle in memory: the manifest, the codebooks and the graphs of one format.

Every file that the manifest lists is read once and hashed, and the bytes that were hashed are the bytes that
run: nothing is opened a second time, so nothing can be exchanged in between.
"""

import os
from dataclasses import dataclass

from ..errors import BundleFileError, GraphError, ManifestError
from .bundle_files import BundleFiles, open_bundle_files
from .codebook import Codebook, load_codebook
from .manifest import MANIFEST_FILE, FileRecord, GraphFiles, GraphFormat, Manifest, sha256_hex

MAX_MANIFEST_BYTES = 4 * 2**20
# Room for graphs of 2 GiB, ONNX's own limit, in each format: a bound on what a wrong manifest can ask for.
MAX_BUNDLE_BYTES = 16 * 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A bundle whose every file is what its manifest says."""

    manifest: Manifest
    codebooks: dict[str, Codebook]
    """By the name of a level, in the order of the manifest's levels."""
    graph_format: GraphFormat
    """The format of the two graphs below; those of the other formats were verified and are not kept."""
    graph_files: GraphFiles
    """The names of the two files."""
    encoder: bytes
    """The graph from pixels to tokens."""
    decoder: bytes
    """The graph from tokens to pixels."""


def load_bundle(path: str | os.PathLike[str], *, graph_format: GraphFormat = "onnx") -> Bundle:
    """Read and verify the bundle at `path`, a folder or a .zip of the same files.

    A file that the manifest does not list is ignored.

    Raises:
        BundleError: one of its subclasses, naming the file or the value, what was expected, and the fix; a
            bundle without graphs of `graph_format` included.
    """
    with open_bundle_files(path) as files:
        content = files.read(MANIFEST_FILE, max_bytes=MAX_MANIFEST_BYTES)
        if len(content) > MAX_MANIFEST_BYTES:
            raise ManifestError(
                f"{MANIFEST_FILE} has more than {MAX_MANIFEST_BYTES} bytes; export the bundle again"
            )
        manifest = Manifest.from_json(content)
        num_bytes = sum(record.bytes for record in manifest.files.values())
        if num_bytes > MAX_BUNDLE_BYTES:
            raise BundleFileError(
                f"the manifest lists {num_bytes} bytes of files, and {MAX_BUNDLE_BYTES} is the limit; "
                "export a smaller model"
            )
        graphs = _graph_files(manifest, graph_format)
        wanted = {graphs.encoder, graphs.decoder, *(level.codebook_file for level in manifest.levels)}
        used = {}
        for name, record in manifest.files.items():
            data = _read_verified(files, name, record=record)
            if name in wanted:
                used[name] = data
    return Bundle(
        manifest=manifest,
        codebooks={
            level.name: load_codebook(used[level.codebook_file], level=level) for level in manifest.levels
        },
        graph_format=graph_format,
        graph_files=graphs,
        encoder=used[graphs.encoder],
        decoder=used[graphs.decoder],
    )


def _graph_files(manifest: Manifest, graph_format: GraphFormat) -> GraphFiles:
    graphs: GraphFiles | None = getattr(manifest.graphs, graph_format)
    if graphs is None:
        raise GraphError(
            f"{manifest.name} has no graphs in the format {graph_format}; use the format onnx, "
            "or export the bundle again"
        )
    return graphs


def _read_verified(files: BundleFiles, name: str, *, record: FileRecord) -> bytes:
    data = files.read(name, max_bytes=record.bytes)
    if len(data) != record.bytes:
        found = f"more than {record.bytes}" if len(data) > record.bytes else len(data)
        raise BundleFileError(
            f"{name} has {found} bytes, and the manifest says {record.bytes}; "
            "restore the file or export the bundle again"
        )
    sha256 = sha256_hex(data)
    if sha256 != record.sha256:
        raise BundleFileError(
            f"{name} has sha256 {sha256}, and the manifest says {record.sha256}; "
            "restore the file or export the bundle again"
        )
    return data
