"""The Open Inference Protocol, as nobody should speak it: all is refused in its own shape, in one line."""

import gzip
import json
import zlib

import httpx
import numpy as np
import pytest

from kohonen_tokenizer.service.errors import UnauthorizedError
from kohonen_tokenizer.service.http.error_replies import error_response

INFER = "/v2/models/tiny-colors-encoder/infer"


def request(
    shape=(1, 8, 8, 3), *, size: object = 192, name: str = "pixels", datatype: str = "UINT8"
) -> bytes:
    """The JSON of an inference request with one binary input."""
    parameters = {"binary_data_size": size}
    tensors = [{"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}]
    return json.dumps({"inputs": tensors}).encode()


def with_data(data: object, shape=(1, 8, 8, 3), datatype: str = "UINT8") -> bytes:
    """The JSON of an inference request whose input is in it."""
    tensors = [{"name": "pixels", "datatype": datatype, "shape": shape, "data": data}]
    return json.dumps({"inputs": tensors}).encode()


def post(client: httpx.Client, text: bytes, data: bytes = b"", **headers: str) -> httpx.Response:
    headers = {"Inference-Header-Content-Length": str(len(text))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return client.post(INFER, content=text + data, headers=headers)


PIXELS = bytes(192)
FILE = (4).to_bytes(4, "little") + b"file"


@pytest.mark.parametrize(
    ("text", "data", "status", "code"),
    [
        (b"", b"", 400, "malformed_body"),
        (b"{", b"", 400, "malformed_body"),
        (b"[" * 500_000, b"", 413, "body_too_large"),
        (b"[" * 2000, b"", 400, "malformed_body"),
        (b"{}", b"", 422, "invalid_parameter"),
        (b'{"inputs": []}', b"", 422, "invalid_parameter"),
        (b'{"inputs": [], "inputs": []}', b"", 400, "malformed_body"),
        (b'{"inputs": [null]}', b"", 422, "invalid_parameter"),
        (request(size=193), PIXELS, 400, "malformed_body"),
        (request(size=191), PIXELS, 400, "malformed_body"),
        (request(size=0), b"", 400, "malformed_body"),
        (request(size=-192), PIXELS, 422, "invalid_parameter"),
        (request(size=2**63), PIXELS, 400, "malformed_body"),
        (request(size=True), PIXELS, 422, "invalid_parameter"),
        (request(size="192"), PIXELS, 422, "invalid_parameter"),
        (request(size=None), PIXELS, 400, "malformed_body"),
        (request(), PIXELS[1:], 400, "malformed_body"),
        (request(), PIXELS + b"x", 400, "malformed_body"),
        (request([1, 8, 8]), PIXELS, 400, "malformed_body"),
        (request([8, 8, 3]), PIXELS, 422, "invalid_pixels"),
        (request([-1, 8, -8, 3]), PIXELS, 422, "invalid_parameter"),
        (request([1] * 9), PIXELS, 422, "invalid_parameter"),
        (request([0, 2**62, 2**62], size=0), b"", 400, "malformed_body"),
        (request([0, 8, 8, 3], size=0), b"", 400, "malformed_body"),
        (request([2**62, 8, 8, 3]), PIXELS, 400, "malformed_body"),
        (request([257, 8, 8, 3], size=192 * 257), PIXELS * 257, 413, "too_many_images"),
        (request([1, 2, 2, 3], size=12), PIXELS[:12], 422, "invalid_pixels"),
        (request([1, 8, 8, 3], size=384, datatype="UINT16"), PIXELS * 2, 422, "invalid_pixels"),
        (request(datatype="FP32"), PIXELS, 422, "invalid_pixels"),
        (request(datatype="BYTES"), PIXELS, 422, "invalid_pixels"),
        (with_data([0] * 191), b"", 400, "malformed_body"),
        (with_data([256] + [0] * 191), b"", 422, "invalid_pixels"),
        (with_data([-1] + [0] * 191), b"", 422, "invalid_pixels"),
        (with_data([10**30] + [0] * 191), b"", 422, "invalid_pixels"),
        (with_data([True] + [0] * 191), b"", 422, "invalid_pixels"),
        (with_data([0.5] + [0] * 191), b"", 422, "invalid_pixels"),
        (with_data("x" * 192), b"", 422, "invalid_pixels"),
        (with_data(None), b"", 400, "malformed_body"),
        (with_data([[[[[[[[[[0]]]]]]]]]]), b"", 422, "invalid_pixels"),
        (request([1], size=8, name="image", datatype="BYTES"), FILE, 415, "unsupported_image_format"),
        (request([1], size=8, name="image", datatype="UINT8"), FILE, 400, "malformed_body"),
        (request([1, 1], size=8, name="image", datatype="BYTES"), FILE, 400, "malformed_body"),
        (request([2], size=8, name="image", datatype="BYTES"), FILE, 400, "malformed_body"),
        (request([1], size=16, name="image", datatype="BYTES"), FILE * 2, 400, "malformed_body"),
        (request([1], size=7, name="image", datatype="BYTES"), FILE[:-1], 400, "malformed_body"),
        (request([1], size=3, name="image", datatype="BYTES"), FILE[:3], 400, "malformed_body"),
        (request([1], size=8, name="image", datatype="BYTES"), b"\xff" * 8, 400, "malformed_body"),
        (request([10**9], size=4000, name="image", datatype="BYTES"), bytes(4000), 413, "too_many_images"),
    ],
)
def test_hostile_requests_are_refused_in_one_line(client, text, data, status, code):
    reply = post(client, text, data)
    assert (reply.status_code, reply.headers["x-error-code"]) == (status, code), reply.text
    assert set(reply.json()) == {"error"}
    message = reply.json()["error"]
    assert 10 < len(message) < 600
    assert "\n" not in message


@pytest.mark.parametrize("datatype", ["FP32", "UINT16", "INT64"])
def test_pixels_are_of_the_one_datatype_that_the_metadata_name(client, datatype):
    (pixels, _) = client.get("/v2/models/tiny-colors-encoder").json()["inputs"]
    reply = post(client, request(datatype=datatype), PIXELS)
    assert reply.json()["error"] == f"the input 'pixels' is '{datatype}'; give {pixels['datatype']}"


@pytest.mark.parametrize("length", ["-1", "1e3", "", "+5", "9" * 30, "100000"])
def test_a_header_length_that_is_none_is_refused(client, length):
    reply = post(client, request(), PIXELS, Inference_Header_Content_Length=length)
    assert (reply.status_code, reply.headers["x-error-code"]) == (400, "malformed_body")


def test_compressed_bodies_are_bounded_and_complete(start_server, tiny_bundle, tiny_model):
    limit = 20_000
    server = start_server(tiny_bundle, max_body_bytes=limit)
    text = request()
    plain = text + PIXELS
    with httpx.Client(base_url=server.url) as client:

        def answer(content: bytes, encoding: str) -> tuple[int, str | None]:
            headers = {
                "Inference-Header-Content-Length": str(len(text)),
                "Content-Encoding": encoding,
            }
            reply = client.post(INFER, content=content, headers=headers)
            return reply.status_code, reply.headers.get("x-error-code")

        assert answer(gzip.compress(plain), "gzip") == (200, None)
        assert answer(zlib.compress(plain), "deflate") == (200, None)
        assert answer(plain, "identity") == (200, None)
        for bomb in (b"x" * (limit + 1), bytes(10**7)):
            assert answer(gzip.compress(bomb), "gzip") == (413, "body_too_large")
            assert answer(zlib.compress(bomb), "deflate") == (413, "body_too_large")
        for broken in (gzip.compress(plain)[:-1], gzip.compress(plain) + b"x", plain, zlib.compress(plain)):
            assert answer(broken, "gzip") == (400, "malformed_body")
        assert answer(plain, "br") == (415, "unsupported_media_type")
        assert answer(plain, "gzip, gzip") == (415, "unsupported_media_type")
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("identity", None),
        ("gzip;q=0, deflate", "deflate"),
        ("br", None),
        ("*", None),
        ("deflate, gzip", "gzip"),
    ],
)
def test_replies_are_compressed_only_when_asked(client, accepted, encoding):
    reply = post(client, request(), PIXELS, Accept_Encoding=accepted)
    assert reply.headers.get("content-encoding") == encoding
    assert np.shape(reply.json()["outputs"][0]["data"]) == (4,)


def test_other_methods_and_parameters_are_refused_in_the_same_shape(client):
    reply = client.put(INFER)
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert reply.json() == {"error": f"PUT is not for '{INFER}'; use POST"}
    reply = client.get("/v2", params={"x": 1})
    assert (reply.status_code, reply.headers["x-error-code"]) == (422, "invalid_parameter")


@pytest.mark.parametrize(("path", "is_protocol"), [("/v2", True), ("/v2/models/x", True), ("/v22", False)])
def test_whoever_refuses_a_path_below_v2_does_it_in_that_shape(path, is_protocol):
    # Keys are asked for, and bugs answered, before or after the routes.
    reply = error_response(UnauthorizedError("no key"), path=path, request_id="1")
    assert reply.headers["www-authenticate"] == "Bearer"
    if is_protocol:
        assert json.loads(bytes(reply.body)) == {"error": "no key"}
        assert reply.headers["x-error-code"] == "unauthorized"
    else:
        assert json.loads(bytes(reply.body))["error"]["code"] == "unauthorized"


def test_json_is_bounded_however_many_images_are_allowed(serve_in_thread, tokenizer, wait_until):
    with serve_in_thread(tokenizer, max_images=4096) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        images = np.zeros((4096, 8, 8, 3), dtype=np.uint8)
        reply = post(client, with_data(images.ravel().tolist(), shape=images.shape))
        assert (reply.status_code, reply.headers["X-Error-Code"]) == (413, "body_too_large")
        reply = post(client, request(images.shape, size=images.size), images.tobytes())
        assert reply.status_code == 200
