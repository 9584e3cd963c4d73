"""Targets for what clients send: images, arrays, tokens, multipart, JSON and the Open Inference Protocol.

Each takes any bytes, returns whether they were read, and raises an InputError or what is a finding.
B images, h w latent grid; the model is the tiny one: images of 8 x 8 pixels, 2 x 2 tokens, 12 codes.
"""

import time
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from kohonen_tokenizer.pixels import Pixels
from kohonen_tokenizer.service.http import media
from kohonen_tokenizer.service.http.app import create_app
from kohonen_tokenizer.service.http.auth import make_key
from kohonen_tokenizer.service.http.bodies import Body
from kohonen_tokenizer.service.http.image_bodies import parse_images
from kohonen_tokenizer.service.http.kserve.compression import decompress
from kohonen_tokenizer.service.http.models import LoadedModel
from kohonen_tokenizer.service.http.service import Service
from kohonen_tokenizer.service.http.settings import Settings
from kohonen_tokenizer.service.runtime.images import decode_image
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer
from kohonen_tokenizer.service.token_grids import TokenFormat, read_token_grids

from ..service.tiny_bundle import COLUMNS, ROWS, tiny_files, write_bundle
from .oracle import check_reply

MAX_IMAGES = 8
MAX_IMAGE_PIXELS = 4096
NUM_CODES = ROWS * COLUMNS
# Not a secret: the service is in this process alone.
_SECRET, _KEY = make_key("fuzz", scopes=("use", "admin"))


def image(data: bytes) -> bool:
    """The content of an image file."""
    pixels = decode_image(data, max_pixels=MAX_IMAGE_PIXELS)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert 0 < pixels.size <= 3 * MAX_IMAGE_PIXELS
    return True


def image_npy(data: bytes) -> bool:
    """A body of /encode."""
    return _check_pixels(_images(data, content_type=media.NPY))


def image_safetensors(data: bytes) -> bool:
    """A body of /encode."""
    return _check_pixels(_images(data, content_type=media.SAFETENSORS))


def image_json(data: bytes) -> bool:
    """A body of /encode."""
    return _check_pixels(_images(data, content_type=media.JSON))


def image_multipart(data: bytes) -> bool:
    """A body of /encode, after a first line with the parameters of its Content-Type."""
    parameters, _, content = data.partition(b"\n")
    content_type = f"{media.MULTIPART};{parameters.decode('latin-1')}"
    return _check_pixels(_images(content, content_type=content_type))


def token_json(data: bytes) -> bool:
    """A body of /decode."""
    return _check_tokens(data, kind="json")


def token_npy(data: bytes) -> bool:
    """A body of /decode."""
    return _check_tokens(data, kind="npy")


def token_safetensors(data: bytes) -> bool:
    """A body of /decode."""
    return _check_tokens(data, kind="safetensors")


def compressed(data: bytes) -> bool:
    """A compressed body of /v2; its first byte tells by what."""
    encoding = "gzip" if data[:1] == b"g" else "deflate"
    assert len(decompress(data[1:], encoding=encoding, max_bytes=100_000)) <= 100_000
    return True


def neighbors(data: bytes) -> bool:
    """A body of POST /neighbors."""
    reply = _post("/neighbors", data)
    if reply is None:
        return False
    for one in reply.get("results", [reply]):
        tokens = [neighbor["token"] for neighbor in one["neighbors"]]
        assert len(set(tokens)) == len(tokens)
        assert set(tokens) <= set(range(NUM_CODES)) - {one["token"]}
    return True


def soft_targets(data: bytes) -> bool:
    """A body of POST /soft-targets."""
    reply = _post("/soft-targets", data)
    if reply is None:
        return False
    assert np.allclose(np.asarray(reply["weights"]).sum(axis=-1), 1, atol=1e-5)
    return True


def perturb(data: bytes) -> bool:
    """A body of /perturb."""
    reply = _post("/perturb", data)
    return reply is not None and _check_grids(np.asarray(reply["tokens"]))


def interpolate(data: bytes) -> bool:
    """A body of /interpolate."""
    reply = _post("/interpolate", data)
    return reply is not None and _check_grids(np.asarray(reply["tokens"]))


def load(data: bytes) -> bool:
    """A body of /models/NAME/load; there is nothing to load, so that what can be read comes to nothing."""
    reply = _client().post("/models/none/load", content=data, headers={"Content-Type": media.JSON})
    check_reply(reply)
    return bool(reply.json()["error"]["code"] == "load_failed")


def infer(data: bytes) -> bool:
    """A body of the Open Inference Protocol, all of it JSON, for the decoder."""
    reply = _post("/v2/models/tiny-colors-decoder/infer", data, may_time_out=b"timeout" in data)
    return reply is not None and all(_fits(output) for output in reply["outputs"])


def infer_binary(data: bytes) -> bool:
    """The same for the encoder, with binary data behind the first line."""
    line, _, binary = data.partition(b"\n")
    headers = {"Inference-Header-Content-Length": str(len(line))}
    reply = _client().post("/v2/models/tiny-colors-encoder/infer", content=line + binary, headers=headers)
    return check_reply(reply, may_time_out=b"timeout" in data)


@cache
def _tokenizer() -> Tokenizer:
    folder = Path(mkdtemp()) / "tiny-colors"
    write_bundle(folder, tiny_files())
    return Tokenizer.load(folder, num_threads=1)


@cache
def _settings() -> Settings:
    return Settings(
        bundle=Path("tiny-colors"),
        api_keys=(_KEY,),
        max_images=MAX_IMAGES,
        max_image_pixels=MAX_IMAGE_PIXELS,
        num_body_threads=1,
    )


@cache
def _client() -> TestClient:
    """A client of the app, whose lifespan is that of the process."""
    model = LoadedModel(name="tiny-colors", version="1", tokenizer=_tokenizer())
    client = TestClient(create_app(Service(_settings(), models=[model])), headers={"X-API-Key": _SECRET})
    client.__enter__()
    while client.get("/readyz").status_code != 200:
        time.sleep(0.01)
    return client


def _post(path: str, data: bytes, *, may_time_out: bool = False) -> dict[str, Any] | None:
    """The JSON of the reply to `data`; None if it was refused."""
    reply = _client().post(path, content=data, headers={"Content-Type": media.JSON})
    return reply.json() if check_reply(reply, may_time_out=may_time_out) else None


def _images(data: bytes, *, content_type: str) -> Pixels:
    media_type = content_type.partition(";")[0]
    body = Body(media_type=media_type, content_type=content_type, content=data)
    return parse_images(body, height=8, width=8, resize="crop", settings=_settings())


def _check_pixels(pixels: Pixels) -> bool:
    assert pixels.dtype == np.uint8
    assert pixels.shape[1:] == (8, 8, 3)
    assert 1 <= len(pixels) <= MAX_IMAGES
    return True


def _check_tokens(data: bytes, *, kind: TokenFormat) -> bool:
    grids = read_token_grids(data, kind=kind)
    grids.check_claims(_tokenizer().identity)
    tokens = grids.rows(_tokenizer())
    assert tokens.dtype == np.int32
    return len(tokens) == 0 or _check_grids(tokens)


def _check_grids(tokens: np.ndarray) -> bool:
    assert tokens.shape[1:] == (2, 2)
    assert tokens.min() >= 0
    assert tokens.max() < NUM_CODES
    return True


def _fits(output: dict[str, Any]) -> bool:
    return len(output["data"]) == np.prod(output["shape"])
