"""The Open Inference Protocol, as Triton's own client speaks it, and as nobody should."""

import gzip
import json
import zlib

import httpx
import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from kohonen_tokenizer.service.runtime.images import decode_image, fit

ENCODER, DECODER = "tiny-colors-encoder", "tiny-colors-decoder"
INFER = f"/v2/models/{ENCODER}/infer"


@pytest.fixture(scope="module")
def triton(server):
    """Triton's client, unchanged."""
    with InferenceServerClient(server.url.removeprefix("http://"), concurrency=4) as client:
        yield client


def tensor(name: str, array: np.ndarray, datatype: str, *, binary: bool = True) -> InferInput:
    return InferInput(name, list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)


def test_health_and_metadata(triton, tokenizer):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    server = triton.get_server_metadata()
    assert server["name"] == "kohonen-tokenizer"
    assert "binary_tensor_data" in server["extensions"]
    encoder, decoder = triton.get_model_metadata(ENCODER), triton.get_model_metadata(DECODER)
    (version,) = encoder["versions"]
    assert encoder["inputs"] == [
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, 8, 8, 3]},
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
    ]
    assert encoder["outputs"] == [
        {"name": "tokens", "datatype": "INT32", "shape": [-1, 2, 2]},
        {"name": "tokens_uint16", "datatype": "UINT16", "shape": [-1, 2, 2]},
    ]
    assert decoder["inputs"] == encoder["outputs"][:1]
    assert decoder["outputs"] == encoder["inputs"][:1]
    assert triton.get_model_metadata(ENCODER, model_version=version) == encoder
    for name in (ENCODER, DECODER):
        assert triton.is_model_ready(name)
        assert triton.is_model_ready(name, model_version=version)
    assert not triton.is_model_ready(ENCODER, model_version="0")
    assert not triton.is_model_ready("tiny-colors")
    index = triton.get_model_repository_index()
    assert [(entry["name"], entry["state"]) for entry in index] == [(ENCODER, "READY"), (DECODER, "READY")]
    config = triton.get_model_config(ENCODER, model_version=version)
    assert config["input"][0] == {
        "name": "pixels",
        "data_type": "TYPE_UINT8",
        "dims": [-1, 8, 8, 3],
        "optional": True,
    }
    assert config["output"][1]["data_type"] == "TYPE_UINT16"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_pixels_to_tokens(triton, random_images, tiny_model, binary_in, binary_out):
    result = triton.infer(
        ENCODER,
        [tensor("pixels", random_images, "UINT8", binary=binary_in)],
        outputs=[
            InferRequestedOutput("tokens_uint16", binary_data=binary_out),
            InferRequestedOutput("tokens", binary_data=not binary_out),
        ],
        request_id="mine",
    )
    expected = tiny_model.encode(random_images)
    for name, dtype in (("tokens", np.int32), ("tokens_uint16", np.uint16)):
        assert result.as_numpy(name).dtype == dtype
        assert np.array_equal(result.as_numpy(name), expected)
    response = result.get_response()
    assert (response["id"], response["model_name"]) == ("mine", ENCODER)
    assert [output["name"] for output in response["outputs"]] == ["tokens_uint16", "tokens"]
    assert ("data" in result.get_output("tokens_uint16")) is not binary_out


@pytest.mark.parametrize("dtype", ["INT32", "INT64", "UINT16", "UINT8"])
@pytest.mark.parametrize("binary", [True, False])
def test_tokens_to_pixels(triton, random_images, tiny_model, tokenizer, dtype, binary):
    tokens = tiny_model.encode(random_images).astype(dtype.lower())
    result = triton.infer(DECODER, [tensor("tokens", tokens, dtype, binary=binary)])
    assert np.array_equal(result.as_numpy("pixels"), tiny_model.decode(tokens))
    parameters = result.get_response()["parameters"]
    assert parameters == {"codebook_hash": tokenizer.codebook.sha256}


@pytest.mark.parametrize("resize", [None, "crop", "squash"])
def test_image_files_to_tokens(triton, photographs, image_file, tokenizer, resize):
    files = [image_file(photographs[0], "JPEG"), image_file(photographs[2], "WEBP")]
    images = [
        fit(decode_image(file, max_pixels=10**5), height=8, width=8, resize=resize or "crop")
        for file in files
    ]
    result = triton.infer(
        ENCODER,
        [tensor("image", np.array(files, dtype=object), "BYTES")],
        parameters={"resize": resize} if resize else None,
    )
    assert np.array_equal(result.as_numpy("tokens"), tokenizer.encode(np.stack(images)))


@pytest.mark.parametrize("sent", ["gzip", "deflate"])
@pytest.mark.parametrize("wanted", ["gzip", "deflate"])
def test_compression(triton, random_images, tiny_model, sent, wanted):
    result = triton.infer(
        ENCODER,
        [tensor("pixels", random_images, "UINT8")],
        request_compression_algorithm=sent,
        response_compression_algorithm=wanted,
    )
    assert np.array_equal(result.as_numpy("tokens"), tiny_model.encode(random_images))


def test_many_at_once(triton, random_images, tiny_model):
    expected = tiny_model.encode(random_images)
    requests = [
        triton.async_infer(ENCODER, [tensor("pixels", random_images[index : index + 1], "UINT8")])
        for index in range(len(random_images))
    ]
    for index, request in enumerate(requests):
        assert np.array_equal(request.get_result().as_numpy("tokens")[0], expected[index])


def test_a_timeout_is_in_microseconds_and_bounded(triton, random_images):
    inputs = [tensor("pixels", random_images, "UINT8")]
    assert triton.infer(ENCODER, inputs, timeout=20_000_000).as_numpy("tokens") is not None
    with pytest.raises(InferenceServerException, match="at most 30000000") as refusal:
        triton.infer(ENCODER, inputs, timeout=31_000_000)
    assert refusal.value.status() == "422"
    with pytest.raises(InferenceServerException) as late:
        triton.infer(ENCODER, inputs, timeout=1)
    assert late.value.status() in ("429", "504")


@pytest.mark.parametrize(
    ("call", "status", "message"),
    [
        (lambda t, i: t.infer("other", i), "404", "there is no model 'other' here"),
        (lambda t, i: t.infer(ENCODER, i, model_version="7"), "404", "not '7'"),
        (lambda t, i: t.infer(DECODER, i), "422", "there is no input 'pixels'; use tokens"),
        (lambda t, i: t.infer(ENCODER, i * 2), "422", "2 inputs are given; give one"),
        (
            lambda t, i: t.infer(ENCODER, i, outputs=[InferRequestedOutput("x")]),
            "422",
            "there is no output 'x'",
        ),
        (
            lambda t, i: t.infer(ENCODER, i, outputs=[InferRequestedOutput("tokens")] * 2),
            "422",
            "asked for twice",
        ),
        (
            lambda t, i: t.infer(ENCODER, i, outputs=[InferRequestedOutput("tokens", class_count=2)]),
            "422",
            "outputs.0.parameters.classification' is no parameter",
        ),
        (lambda t, i: t.infer(ENCODER, i, sequence_id=3), "422", "'parameters.sequence_"),
        (
            lambda t, i: t.infer(ENCODER, i, parameters={"resize": "crop"}),
            "422",
            "resize is for the input image",
        ),
        (lambda t, i: t.get_inference_statistics(ENCODER), "404", "/v2/models/tiny-colors-encoder/stats"),
        (lambda t, i: t.load_model(ENCODER), "404", "there is no '/v2/repository"),
        (lambda t, i: t.get_log_settings(), "404", "there is no '/v2/logging'"),
        (lambda t, i: t.get_system_shared_memory_status(), "404", "there is no '/v2/systemsharedmemory"),
        (
            lambda t, i: t.infer(ENCODER, [InferInput("pixels", [1], "UINT8").set_shared_memory("r", 1)]),
            "422",
            "shared_memory_",
        ),
    ],
)
def test_errors_reach_the_client_in_its_own_shape(triton, random_images, call, status, message):
    with pytest.raises(InferenceServerException) as refusal:
        call(triton, [tensor("pixels", random_images, "UINT8")])
    assert refusal.value.status() == status
    assert message in refusal.value.message()


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
