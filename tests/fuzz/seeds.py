"""Good inputs of each target, and some that just miss, for the fuzzer to begin with."""

import base64
import gzip
import io
import json
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from ..service.hostile_images import hostile_images
from ..service.image_files import file_of
from ..service.tiny_bundle import tiny_files, write_bundle

MAX_BYTES = 10_240
"""Of an input. What is longer says nothing new, and slowly."""


def seeds_of_targets() -> dict[str, list[bytes]]:
    """By the name of each target, its seeds; the first one is good."""
    images, grids = np.full((2, 9, 8, 3), 200, np.uint8), np.arange(8).reshape(2, 2, 2)
    png = file_of(images[0], "PNG")
    bundle = _bundle()
    return {
        "image": [file.data for file in hostile_images() if len(file.data) <= MAX_BYTES],
        "image_npy": [_npy(images), _npy(images[:, :8]), _npy(np.asfortranarray(images)), _npy(images[0])],
        "image_safetensors": [save({"images": images}), save({"images": images}, metadata={"a": "b"})],
        "image_json": [
            json.dumps({"image": base64.b64encode(png).decode()}).encode(),
            json.dumps({"images": 2 * ["data:image/png;base64," + base64.b64encode(png).decode()]}).encode(),
        ],
        "image_multipart": [_multipart(png), _multipart(png, png), b' boundary="cut"\n--cut--'],
        "token_json": [
            b'{"tokens": [[0, 1], [2, 3]]}',
            b'{"tokens": [[[0, 1], [2, 3]]], "model": "tiny-colors", "codebook_hash": "0"}',
            b'{"tokens_top": [[[0, 1], [2, 3]]], "tokens_bottom": [[0]]}',
        ],
        "token_npy": [_npy(grids), _npy(grids.astype(">u2")), _npy(grids[0])],
        "token_safetensors": [
            save({"tokens": grids.astype(np.uint16)}, metadata={"model": "tiny-colors"}),
            save({"tokens_top": grids, "tokens_bottom": grids}),
        ],
        "compressed": [b"g" + gzip.compress(b"tokens" * 9, mtime=0), b"z" + zlib.compress(b"tokens" * 9)],
        "neighbors": [
            b'{"token": 1}',
            b'{"tokens": [1, 2], "k": 3, "by": "codebook"}',
            b'{"token": 1, "radius": 2.5, "by": "map", "level": "tokens", "model": "tiny-colors"}',
        ],
        "soft_targets": [
            b'{"tokens": [0, 5], "sigma": 1.5, "k": 3}',
            b'{"tokens": [[[0, 1], [2, 3]]], "radius": 2}',
            b'{"tokens": [11]}',
        ],
        "perturb": [
            b'{"tokens": [[0, 1], [2, 3]], "offset": [1, -2]}',
            b'{"tokens": [[[0, 1], [2, 3]]], "offset": [9, 9], "edge": "reflect", "level": "tokens"}',
        ],
        "interpolate": [
            b'{"from": [[0, 1], [2, 3]], "to": [[4, 5], [6, 7]], "steps": 3}',
            b'{"from": {"tokens": [[0, 1], [2, 3]]}, "to": [[[4, 5], [6, 7]]]}',
        ],
        "load": [b'{"version": "3"}', b'{"version": 3}', b"{}"],
        "infer": [
            b'{"inputs": [{"name": "tokens", "datatype": "INT8", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}]}',
            b'{"id": "a", "parameters": {"timeout": 1000000}, "inputs": [{"name": "tokens", "datatype": '
            b'"INT32", "shape": [1, 2, 2], "data": [[[1, 2], [3, 4]]]}], "outputs": [{"name": "pixels", '
            b'"parameters": {"binary_data": false}}]}',
        ],
        "infer_binary": [
            b'{"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 8, 8, 3], "parameters": '
            b'{"binary_data_size": 192}}]}\n' + bytes(192),
            b'{"parameters": {"resize": "squash", "binary_data_output": true}, "inputs": [{"name": "image", '
            b'"datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": %d}}]}\n'
            % (len(png) + 4)
            + len(png).to_bytes(4, "little")
            + png,
        ],
        "manifest": [bundle["manifest.json"]],
        "codebook": [bundle["codebook.safetensors"]],
        "graph": [bundle["encoder.onnx"]],
        "archive": [_zip(bundle, zipfile.ZIP_DEFLATED), _zip({"manifest.json": b"{}"}, zipfile.ZIP_STORED)],
        "tar": [_tar(png, "w"), _tar(png, "w:gz"), _tar(png, "w:bz2"), _tar(png, "w:xz")],
    }


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _multipart(*files: bytes) -> bytes:
    head = b'--cut\r\nContent-Disposition: form-data; name="f"; filename="f.png"\r\n\r\n'
    return b" boundary=cut\n" + b"".join(head + file + b"\r\n" for file in files) + b"--cut--\r\n"


def _bundle() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder), tiny_files())
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _zip(files: Mapping[str, bytes], method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def _tar(image: bytes, mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for name, content in {"a/1.png": image, "a/1.cls": b"cat", "ä/2.jpg": image}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()
