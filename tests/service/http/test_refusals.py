"""Bad input: each kind gets its own 4xx, a stable code and one line that helps, and the server lives on."""

import base64
import io
import json
import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

JPEG = {"Content-Type": "image/jpeg"}
PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=cut"}


def _file(image_format: str) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, size=(40, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format=image_format)
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _npy_with_header(header: str, data: bytes = b"", *, version: tuple[int, int] = (1, 0)) -> bytes:
    size = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + size + header.encode("latin-1") + data


def _png_of_claimed_size(side: int) -> bytes:
    """A PNG whose header claims side x side pixels, and that holds none."""
    png = bytearray(_file("PNG"))
    png[16:24] = struct.pack(">II", side, side)
    # The header's checksum covers its type and its 13 bytes.
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    return bytes(png)


def _part(headers: str, content: bytes = b"x") -> bytes:
    return b"--cut\r\n" + headers.encode() + b"\r\n\r\n" + content + b"\r\n"


JPEG_FILE, PNG_FILE = _file("JPEG"), _file("PNG")
JPEG_TEXT = base64.b64encode(JPEG_FILE).decode()
FILE_PART = _part('Content-Disposition: form-data; name="f"; filename="f.jpg"', JPEG_FILE)
GRID = [[0, 1], [2, 3]]
LITERAL = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 8, 8, 3), }"


@dataclass(frozen=True)
class Refusal:
    """A bad request and the answer it must get."""

    name: str
    status: int
    code: str
    path: str
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    params: Any = None
    method: str = "POST"
    says: str = ""
    """A part of the message."""


def _encode(
    name: str, status: int, code: str, content: bytes, headers: dict[str, str], **more: Any
) -> Refusal:
    return Refusal(name, status, code, "/encode", content, headers, **more)


def _decode(
    name: str, status: int, code: str, content: bytes, headers: dict[str, str], **more: Any
) -> Refusal:
    return Refusal(name, status, code, "/decode", content, headers, **more)


def _tokens(name: str, status: int, code: str, tokens: Any, **more: Any) -> Refusal:
    return _decode(name, status, code, json.dumps({"tokens": tokens}).encode(), JSON, **more)


def _neighbors(name: str, params: Any, *, code: str = "invalid_parameter", says: str = "") -> Refusal:
    return Refusal(name, 422, code, "/neighbors", params=params, method="GET", says=says)


def _neighbors_json(name: str, status: int, code: str, content: bytes, **more: Any) -> Refusal:
    return Refusal(name, status, code, "/neighbors", content, JSON, **more)


REFUSALS = [
    # Bodies of any kind
    _encode("empty body", 400, "malformed_body", b"", JPEG),
    Refusal("unknown parameter", 422, "invalid_parameter", "/decode", params={"x": 1}, says="'x'"),
    Refusal("parameter", 422, "invalid_parameter", "/neighbors", b"{}", JSON, {"radius": 9}, says="'radius'"),
    *(
        Refusal(
            "unknown parameter", 422, "invalid_parameter", path, params={"x": 1}, method="GET", says="'x'"
        )
        for path in ("/codebook", "/map.png", "/models", "/healthz", "/readyz", "/metrics")
    ),
    _encode("no content type", 415, "unsupported_media_type", JPEG_FILE, {}, says="send one of image/jpeg"),
    _encode("unknown media type", 415, "unsupported_media_type", b"x", {"Content-Type": "text/plain"}),
    _encode("image type of no use", 415, "unsupported_media_type", b"x", {"Content-Type": "image/gif"}),
    _encode(
        "form of curl -d",
        415,
        "unsupported_media_type",
        b"x",
        {"Content-Type": "application/x-www-form-urlencoded"},
    ),
    _encode("media type of junk", 415, "unsupported_media_type", b"x", {"Content-Type": ";;;\xe9/\xff"}),
    _encode("compressed", 415, "unsupported_media_type", JPEG_FILE, JPEG | {"Content-Encoding": "gzip"}),
    _decode("image for the decoder", 415, "unsupported_media_type", JPEG_FILE, JPEG),
    # Images
    _encode("truncated jpeg", 400, "undecodable_image", JPEG_FILE[: len(JPEG_FILE) // 2], JPEG),
    _encode("jpeg of its first bytes", 400, "undecodable_image", JPEG_FILE[:4], JPEG),
    _encode("truncated png", 400, "undecodable_image", PNG_FILE[: len(PNG_FILE) // 2], PNG),
    _encode("text as jpeg", 415, "unsupported_image_format", b"this is a text", JPEG),
    _encode("gif as png", 415, "unsupported_image_format", _file("GIF"), PNG),
    _encode("image bomb by its header", 413, "too_many_pixels", _png_of_claimed_size(60_000), PNG),
    _encode("bomb beyond 31 bits", 413, "too_many_pixels", _png_of_claimed_size(2**31), PNG),
    _encode("no pixels", 400, "undecodable_image", _png_of_claimed_size(0), PNG),
    _encode(
        "another size under strict", 422, "image_size_mismatch", PNG_FILE, PNG, params={"resize": "strict"}
    ),
    _encode("wrong resize", 422, "invalid_parameter", PNG_FILE, PNG, params={"resize": "stretch"}),
    _encode("resize twice", 422, "invalid_parameter", PNG_FILE, PNG, params={"resize": ["crop", "crop"]}),
    _encode("empty resize", 422, "invalid_parameter", PNG_FILE, PNG, params={"resize": ""}),
    _encode(
        "unknown parameter",
        422,
        "invalid_parameter",
        PNG_FILE,
        PNG,
        params={"resise": "crop"},
        says="'resise'",
    ),
    # Images in JSON
    _encode("no json", 400, "malformed_body", b"{", JSON),
    _encode("json that is not utf-8", 400, "malformed_body", b'{"image": "\xff"}', JSON),
    _encode("json with half a surrogate", 400, "malformed_body", b'{"image": "\\ud800"}', JSON),
    _encode("json nested too deep", 400, "malformed_body", b"[" * 100_000, JSON),
    _encode("json list", 400, "malformed_body", b"[]", JSON),
    _encode("json null", 400, "malformed_body", b"null", JSON),
    _encode("json without the key", 400, "malformed_body", b"{}", JSON),
    _encode(
        "json with a key twice", 400, "malformed_body", b'{"image": "", "image": ""}', JSON, says="twice"
    ),
    _encode("json with both keys", 400, "malformed_body", b'{"image": "", "images": []}', JSON),
    _encode("json with another key", 400, "malformed_body", b'{"image": "", "resize": "crop"}', JSON),
    _encode("image is a number", 400, "malformed_body", b'{"image": 1}', JSON, says="an integer"),
    _encode("image is a list", 400, "malformed_body", b'{"image": ["AA=="]}', JSON),
    _encode("images is a string", 400, "malformed_body", b'{"images": "AA=="}', JSON),
    _encode("images with null", 400, "malformed_body", b'{"images": [null]}', JSON),
    _encode("no images", 400, "malformed_body", b'{"images": []}', JSON),
    _encode("bad base64", 400, "malformed_body", b'{"image": "*"}', JSON),
    _encode("base64 without padding", 400, "malformed_body", b'{"image": "AAA"}', JSON),
    _encode("base64 with letters beyond ascii", 400, "malformed_body", '{"image": "é"}'.encode(), JSON),
    _encode("base64 of nothing", 400, "undecodable_image", b'{"image": ""}', JSON),
    _encode("base64 of no image", 415, "unsupported_image_format", b'{"image": "AAAA"}', JSON),
    _encode("data url that is not base64", 400, "malformed_body", b'{"image": "data:image/png,AAAA"}', JSON),
    _encode("data url without data", 400, "malformed_body", b'{"image": "data:image/png;base64"}', JSON),
    _encode(
        "more images than the limit",
        413,
        "too_many_images",
        json.dumps({"images": [JPEG_TEXT] * 257}).encode(),
        JSON,
        says="257",
    ),
    # Images in multipart
    _encode(
        "multipart without boundary", 400, "malformed_body", b"x", {"Content-Type": "multipart/form-data"}
    ),
    _encode(
        "multipart with an endless boundary",
        400,
        "malformed_body",
        b"x",
        {"Content-Type": f"multipart/form-data; boundary={'b' * 10_000}"},
    ),
    _encode("multipart of junk", 400, "malformed_body", b"junk", MULTIPART),
    _encode("multipart without files", 400, "malformed_body", b"--cut--\r\n", MULTIPART),
    _encode("multipart cut off", 400, "malformed_body", FILE_PART, MULTIPART, says="closing boundary"),
    _encode(
        "multipart with a field",
        400,
        "malformed_body",
        FILE_PART + _part('Content-Disposition: form-data; name="resize"', b"crop") + b"--cut--\r\n",
        MULTIPART,
        says="'resize'",
    ),
    _encode(
        "multipart without disposition", 400, "malformed_body", _part("X: y") + b"--cut--\r\n", MULTIPART
    ),
    _encode(
        "multipart with a bad header", 400, "malformed_body", _part("no colon") + b"--cut--\r\n", MULTIPART
    ),
    _encode(
        "multipart with too many files", 413, "too_many_images", FILE_PART * 257 + b"--cut--\r\n", MULTIPART
    ),
    _encode(
        "multipart with an empty file",
        400,
        "undecodable_image",
        _part('Content-Disposition: form-data; name="f"; filename="f"', b"") + b"--cut--\r\n",
        MULTIPART,
    ),
    # Images in .npy
    _encode("npy of junk", 400, "malformed_body", b"junk", NPY),
    _encode(
        "npy of an unknown version", 400, "malformed_body", _npy_with_header(LITERAL, version=(9, 0)), NPY
    ),
    _encode("npy cut in its header", 400, "malformed_body", _npy(np.zeros((1, 8, 8, 3), "u1"))[:50], NPY),
    _encode(
        "npy truncated", 400, "malformed_body", _npy(np.zeros((1, 8, 8, 3), "u1"))[:-1], NPY, says="192 bytes"
    ),
    _encode("npy with bytes after it", 400, "malformed_body", _npy(np.zeros((1, 8, 8, 3), "u1")) + b"x", NPY),
    _encode(
        "npy that claims terabytes",
        400,
        "malformed_body",
        _npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000, 1000, 3), }"),
        NPY,
    ),
    _encode(
        "npy that claims more than 64 bits",
        400,
        "malformed_body",
        _npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (%s,), }" % (10**30)),
        NPY,
    ),
    _encode(
        "npy of a negative size",
        400,
        "malformed_body",
        _npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8, 8, -3), }", b"x" * 192),
        NPY,
    ),
    _encode(
        "npy of zero images of any size",
        422,
        "invalid_pixels",
        _npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (0, 0, 9999999999, 3), }"),
        NPY,
    ),
    _encode("npy of no images", 400, "malformed_body", _npy(np.zeros((0, 8, 8, 3), "u1")), NPY),
    _encode(
        "npy of too many dimensions",
        400,
        "malformed_body",
        _npy_with_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {(1,) * 100}, }}", b"x"),
        NPY,
    ),
    _encode("npy with a deep header", 400, "malformed_body", _npy_with_header("(" * 900), NPY),
    _encode("npy with a long header", 400, "malformed_body", _npy_with_header("-" * 60_000 + "1"), NPY),
    _encode(
        "npy with a header of code", 400, "malformed_body", _npy_with_header("__import__('os').abort()"), NPY
    ),
    _encode(
        "npy with a header of the wrong keys", 400, "malformed_body", _npy_with_header("{'shape': 1}"), NPY
    ),
    _encode("npy of a bad type", 400, "malformed_body", _npy_with_header(LITERAL.replace("|u1", "zz")), NPY),
    _encode(
        "npy with pickled objects",
        400,
        "malformed_body",
        _npy(np.array([{"a": 1}, None])),
        NPY,
        says="pickled",
    ),
    _encode("npy of records", 400, "malformed_body", _npy(np.zeros(3, dtype=[("a", "u1")])), NPY),
    _encode("npy of strings", 400, "malformed_body", _npy(np.array(["a"])), NPY),
    _encode("npy of floats", 422, "invalid_pixels", _npy(np.zeros((1, 8, 8, 3), "f4")), NPY),
    _encode("npy of booleans", 422, "invalid_pixels", _npy(np.zeros((1, 8, 8, 3), bool)), NPY),
    _encode("npy of one image", 422, "invalid_pixels", _npy(np.zeros((8, 8, 3), "u1")), NPY),
    _encode("npy of planes", 422, "invalid_pixels", _npy(np.zeros((1, 3, 8, 8), "u1")), NPY),
    _encode("npy of a scalar", 422, "invalid_pixels", _npy(np.uint8(1)), NPY),
    _encode("npy of too many images", 413, "too_many_images", _npy(np.zeros((257, 1, 1, 3), "u1")), NPY),
    _encode(
        "npy of another size under strict",
        422,
        "image_size_mismatch",
        _npy(np.zeros((1, 9, 8, 3), "u1")),
        NPY,
        params={"resize": "strict"},
    ),
    # Tokens
    _tokens("no tokens", 422, "invalid_tokens", []),
    _tokens("tokens is null", 422, "invalid_tokens", None),
    _tokens("tokens is a number", 422, "invalid_tokens", 5),
    _tokens("tokens is an object", 422, "invalid_tokens", {"0": 1}),
    _tokens("tokens in one dimension", 422, "invalid_tokens", [0, 1, 2, 3]),
    _tokens("tokens in four dimensions", 422, "invalid_tokens", [[GRID]]),
    _tokens("empty rows", 422, "invalid_tokens", [[], []]),
    _tokens("ragged rows", 422, "invalid_tokens", [[0, 1], [2]], says="ragged"),
    _tokens("ragged grids", 422, "invalid_tokens", [GRID, GRID[:1]], says="ragged"),
    _tokens("ragged depth", 422, "invalid_tokens", [[0, 1], 2]),
    _tokens("another grid", 422, "invalid_tokens", [[0, 1, 2]], says="[B, 2, 2]"),
    _tokens("floats", 422, "invalid_tokens", [[0.0, 1.0], [2.0, 3.0]]),
    _tokens("one float", 422, "invalid_tokens", [[0, 1], [2, 3.5]]),
    _tokens("booleans", 422, "invalid_tokens", [[0, True], [2, 3]], says="true or false"),
    _tokens("strings", 422, "invalid_tokens", [["0", "1"], ["2", "3"]]),
    _tokens("nulls", 422, "invalid_tokens", [[0, None], [2, 3]]),
    _tokens("objects", 422, "invalid_tokens", [[0, {}], [2, 3]]),
    _tokens("negative", 422, "token_out_of_range", [[0, -1], [2, 3]], says="-1"),
    _tokens("one too high", 422, "token_out_of_range", [[0, 12], [2, 3]], says="outside 0 to 11"),
    _tokens("beyond 32 bits", 422, "token_out_of_range", [[0, 2**32], [2, 3]]),
    _tokens("beyond 63 bits", 422, "token_out_of_range", [[0, 2**63], [2, 3]]),
    _tokens("beyond 64 bits", 422, "token_out_of_range", [[0, 10**30], [2, 3]]),
    _tokens("too many grids", 413, "too_many_images", [GRID] * 257),
    _decode("nan", 400, "malformed_body", b'{"tokens": [[0, NaN], [2, 3]]}', JSON),
    _decode("an endless number", 400, "malformed_body", b'{"tokens": %s}' % (b"1" * 5000), JSON),
    _decode("half a surrogate", 400, "malformed_body", b'{"tokens": [], "model": "\\ud800"}', JSON),
    _decode("a key of images", 400, "malformed_body", b'{"images": []}', JSON),
    _decode("another key", 400, "malformed_body", b'{"tokens": [[0, 1], [2, 3]], "resize": 1}', JSON),
    _decode("a list without its object", 400, "malformed_body", b"[[0, 1], [2, 3]]", JSON),
    _decode(
        "nested a thousand deep", 422, "invalid_tokens", b'{"tokens": %s1%s}' % (b"[" * 900, b"]" * 900), JSON
    ),
    _decode("npy of float tokens", 422, "invalid_tokens", _npy(np.zeros((2, 2), "f4")), NPY),
    _decode("npy of boolean tokens", 422, "invalid_tokens", _npy(np.zeros((2, 2), bool)), NPY),
    _decode("npy of one dimension", 422, "invalid_tokens", _npy(np.zeros(4, "i4")), NPY),
    _decode("npy of a scalar", 422, "invalid_tokens", _npy(np.int64(1)), NPY),
    _decode("npy of another grid", 422, "invalid_tokens", _npy(np.zeros((1, 3, 2), "i4")), NPY),
    _decode("npy of no grids", 400, "malformed_body", _npy(np.zeros((0, 2, 2), "i4")), NPY),
    _decode("npy beyond the codebook", 422, "token_out_of_range", _npy(np.full((2, 2), 2**63, "u8")), NPY),
    _decode("npy of negative tokens", 422, "token_out_of_range", _npy(np.full((2, 2), -1, "i8")), NPY),
    # Neighbors
    _neighbors("no token", {}, says="token is missing"),
    _neighbors("token and tokens", {"token": 1, "tokens": 2}),
    _neighbors("token of letters", {"token": "one"}),
    _neighbors("token with a fraction", {"token": "1.5"}),
    _neighbors("empty token", {"token": ""}),
    _neighbors("token beyond the codebook", {"token": 12}, code="token_out_of_range", says="outside 0 to 11"),
    _neighbors("negative token", {"token": -1}, code="token_out_of_range"),
    _neighbors("huge token", {"token": 10**40}, code="token_out_of_range"),
    _neighbors("token of five thousand digits", {"token": "1" * 5000}),
    _neighbors("one bad token of many", {"tokens": [1, 12]}, code="token_out_of_range"),
    _neighbors("too many tokens", {"tokens": [1] * 65}, says="65"),
    _neighbors("token with an underscore", {"token": "1_0"}),
    _neighbors("token with a plus", {"token": "+1"}),
    _neighbors("token with a space", {"token": " 1"}),
    _neighbors("token with a leading zero", {"token": "01"}),
    _neighbors("token with a fraction", {"token": "5.0"}),
    _neighbors("radius with an underscore", {"token": 1, "radius": "1_0"}),
    _neighbors("radius beyond a float", {"token": 1, "radius": "1e999"}),
    _neighbors("nan radius", {"token": 1, "radius": "nan"}),
    _neighbors("infinite radius", {"token": 1, "radius": "inf"}),
    _neighbors("negative radius", {"token": 1, "radius": -1}),
    _neighbors("k of zero", {"token": 1, "k": 0}, says="1 to 11"),
    _neighbors("k beyond the others", {"token": 1, "k": 12}),
    _neighbors("huge k", {"token": 1, "k": 10**40}),
    _neighbors("radius and k", {"token": 1, "radius": 1, "k": 1}),
    _neighbors("unknown by", {"token": 1, "by": "color"}),
    _neighbors("codebook without k", {"token": 1, "by": "codebook"}),
    _neighbors("codebook with radius", {"token": 1, "by": "codebook", "radius": 1}),
    _neighbors("token twice", {"token": [1, 2]}, says="'token' is given more than once"),
    _neighbors("unknown parameter", {"token": 1, "radious": 1}, says="'radious'"),
    _neighbors_json("empty body", 400, "malformed_body", b""),
    _neighbors_json("list", 400, "malformed_body", b"[]"),
    _neighbors_json("no json", 400, "malformed_body", b"{"),
    _neighbors_json("empty object", 422, "invalid_parameter", b"{}"),
    _neighbors_json("boolean token", 422, "invalid_parameter", b'{"token": true}'),
    _neighbors_json("float token", 422, "invalid_parameter", b'{"token": 1.0}'),
    _neighbors_json("string token", 422, "invalid_parameter", b'{"token": "1"}'),
    _neighbors_json("null token", 422, "invalid_parameter", b'{"token": null}'),
    _neighbors_json("no tokens", 422, "invalid_parameter", b'{"tokens": []}'),
    _neighbors_json("tokens of tokens", 422, "invalid_parameter", b'{"tokens": [[1]]}'),
    _neighbors_json("string radius", 422, "invalid_parameter", b'{"token": 1, "radius": "1"}'),
    _neighbors_json("nan radius", 400, "malformed_body", b'{"token": 1, "radius": NaN}'),
    _neighbors_json("huge token", 422, "invalid_parameter", b'{"token": 1%s}' % (b"0" * 40)),
    _neighbors_json("unknown key", 422, "invalid_parameter", b'{"token": 1, "how": 2}'),
    Refusal("form", 415, "unsupported_media_type", "/neighbors", b"token=1", {"Content-Type": "text/plain"}),
    # Accept
    _encode("accept of a page", 406, "not_acceptable", JPEG_FILE, JPEG | {"Accept": "text/html"}),
    _encode("accept of junk", 406, "not_acceptable", JPEG_FILE, JPEG | {"Accept": ";;q=\xff,/,a/b/c"}),
    _encode("accept of a bad quality", 406, "not_acceptable", JPEG_FILE, JPEG | {"Accept": "*/*;q=high"}),
    _encode("accept of nothing", 406, "not_acceptable", JPEG_FILE, JPEG | {"Accept": "*/*;q=0"}),
    _encode("accept of an image of tokens", 406, "not_acceptable", JPEG_FILE, JPEG | {"Accept": "image/png"}),
    Refusal("accept", 406, "not_acceptable", "/codebook", headers={"Accept": "image/png"}, method="GET"),
]

ROUTING = [
    Refusal("unknown path", 404, "not_found", "/nothing/here", method="GET"),
    Refusal("path of odd characters", 404, "not_found", "/%00%ff%0aline", method="GET"),
    Refusal("slash at the end", 404, "not_found", "/encode/"),
    Refusal("get of encode", 405, "method_not_allowed", "/encode", method="GET", says="use POST"),
    Refusal(
        "delete of neighbors",
        405,
        "method_not_allowed",
        "/neighbors",
        method="DELETE",
        says="use GET, HEAD, POST",
    ),
    Refusal("post of the codebook", 405, "method_not_allowed", "/codebook", says="use GET"),
    Refusal("unknown method", 405, "method_not_allowed", "/decode", method="PROPFIND"),
]


def _id(refusal: Refusal) -> str:
    return f"{refusal.path.strip('/')}: {refusal.name}"


@pytest.fixture(scope="module")
def documented(client):
    """The codes that /openapi.json gives for a route, a method and a status."""
    paths = client.get("/openapi.json").json()["paths"]

    def codes(refusal: Refusal) -> list[str]:
        replies = paths[refusal.path][refusal.method.lower()]["responses"]
        schema = replies[str(refusal.status)]["content"]["application/json"]["schema"]
        return schema["properties"]["error"]["properties"]["code"]["enum"]

    return codes


def _refused(client: httpx.Client, refusal: Refusal) -> None:
    reply = client.request(
        refusal.method,
        refusal.path,
        content=refusal.content,
        headers={name.encode(): value.encode("latin-1") for name, value in refusal.headers.items()},
        params=refusal.params,
    )
    assert reply.status_code == refusal.status, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert set(reply.json()) == {"error"}
    error = reply.json()["error"]
    # One item of several may be at fault; test_expected_codebook.py says when.
    assert set(error) - {"index"} == {"code", "message", "request_id"}
    assert error["code"] == refusal.code, error
    assert error["request_id"] == reply.headers["x-request-id"]
    assert refusal.says in error["message"]
    # One line of bounded length, without the inside of the server.
    assert 10 < len(error["message"]) < 600
    assert "\n" not in error["message"]
    assert not re.search(r"Traceback|\.py\b|site-packages|object at 0x|/tmp/", error["message"])


@pytest.mark.parametrize("refusal", REFUSALS, ids=_id)
def test_bad_input_is_refused_as_documented(client, documented, refusal):
    _refused(client, refusal)
    assert refusal.code in documented(refusal)


@pytest.mark.parametrize("refusal", ROUTING, ids=_id)
def test_what_no_route_takes_is_refused_in_the_same_shape(client, refusal):
    _refused(client, refusal)


def test_a_405_names_all_methods_of_the_path(client):
    assert client.delete("/neighbors").headers["allow"] == "GET, HEAD, POST"
    assert client.get("/encode").headers["allow"] == "POST"
    assert client.post("/").headers["allow"] == "GET, HEAD"


def test_the_server_still_works(client, tokenizer):
    # Runs after all of the above: none of it may have broken the model or taken a place for good.
    assert client.get("/readyz").status_code == 200
    reply = client.post("/encode", content=PNG_FILE, headers=PNG)
    assert reply.status_code == 200
    assert "kohonen_pending_requests 0.0" in client.get("/metrics").text
