"""The Open Inference Protocol, as Triton's own client speaks it."""

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from kohonen_tokenizer.service.runtime.images import decode_image, fit

ENCODER, DECODER = "tiny-colors-encoder", "tiny-colors-decoder"


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
