"""Targets for what an operator is given: the files of a bundle, and tars of images.

Each takes any bytes, returns whether they were read, and raises a BundleError or what is a finding.
"""

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from safetensors.numpy import load

from kohonen_tokenizer.batch.sources.source import Piece
from kohonen_tokenizer.batch.sources.tars import TarSource
from kohonen_tokenizer.batch.storage import Storage
from kohonen_tokenizer.service.runtime.manifest import MANIFEST_FILE, codebook_sha256
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from ..service.tiny_bundle import tiny_files, write_bundle

_TAR = "images.tar"


def manifest(data: bytes) -> bool:
    """A manifest.json beside the files of the tiny bundle."""
    folder = _tiny_bundle()
    (folder / MANIFEST_FILE).write_bytes(data)
    return _load(folder)


def codebook(data: bytes) -> bool:
    """A codebook.safetensors, of which the manifest has the hashes, so that they protect nothing."""
    folder = _folder("codebook")
    write_bundle(folder, _tiny_files() | {"codebook.safetensors": data})
    try:
        sha256 = codebook_sha256(load(data)["vectors"])
    except Exception:
        return _load(folder)
    fields = json.loads((folder / MANIFEST_FILE).read_bytes())
    fields["levels"][0]["codebook_sha256"] = sha256
    (folder / MANIFEST_FILE).write_text(json.dumps(fields))
    return _load(folder)


def graph(data: bytes) -> bool:
    """An encoder.onnx, of which the manifest has the hash."""
    folder = _folder("graph")
    write_bundle(folder, _tiny_files() | {"encoder.onnx": data})
    return _load(folder)


def archive(data: bytes) -> bool:
    """A bundle as a .zip."""
    file = _folder("archive") / "bundle.zip"
    file.write_bytes(data)
    return _load(file)


def tar(data: bytes) -> bool:
    """A tar of a batch job's images; what cannot be read is a sample with its error."""
    folder = _folder("tar")
    (folder / _TAR).write_bytes(data)
    samples = list(TarSource(Storage(str(folder)), paths=[_TAR]).samples([Piece(_TAR)]))
    for sample in samples:
        assert (sample.content is None) == (sample.error is not None)
        assert sample.id.startswith(_TAR)
    return bool(samples) and all(sample.error is None for sample in samples)


def _load(path: Path) -> bool:
    tokenizer = Tokenizer.load(path, num_threads=1)
    tokens = tokenizer.encode(np.zeros((2, *tokenizer.image_shape), dtype=np.uint8))
    assert isinstance(tokens, np.ndarray)
    assert tokens.dtype == np.int32
    assert tokens.shape == (2, *tokenizer.token_shape)
    return True


@cache
def _folder(name: str) -> Path:
    return Path(mkdtemp(prefix=name))


@cache
def _tiny_bundle() -> Path:
    folder = _folder("manifest")
    write_bundle(folder, _tiny_files())
    return folder


@cache
def _tiny_files() -> dict[str, bytes]:
    return tiny_files()
