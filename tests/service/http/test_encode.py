"""POST /encode: every way to send an image gives the tokens that the model gives in process."""

import base64

import httpx
import numpy as np
import pytest

from kohonen_tokenizer.service.runtime.images import decode_image, fit

URL = "/encode"


@pytest.fixture(scope="module")
def jpegs(photographs, image_file):
    """The photographs as JPEG files."""
    return [image_file(photograph, "JPEG") for photograph in photographs]


@pytest.fixture(scope="module")
def expected(jpegs, tokenizer):
    """The tokens of `jpegs`, cropped, from the model in process: int32 [B, 2, 2]."""
    images = [fit(decode_image(jpeg, max_pixels=10**6), height=8, width=8) for jpeg in jpegs]
    tokens = tokenizer.encode(np.stack(images))
    assert len(np.unique(tokens)) > 3  # or the photographs could not be told apart
    return tokens


def test_a_photograph_as_a_jpeg_body(client, jpegs, expected, tokenizer):
    for jpeg, tokens in zip(jpegs, expected, strict=True):
        reply = client.post(URL, content=jpeg, headers={"Content-Type": "image/jpeg"})
        assert reply.status_code == 200
        assert reply.json() == {
            "tokens": [tokens.tolist()],
            "model": "tiny-colors",
            "codebook_hash": tokenizer.codebook.sha256,
        }


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_other_formats_as_a_body(client, photographs, tokenizer, image_file, image_format):
    image = photographs[0][:8, :8]
    content = image_file(image, image_format)
    reply = client.post(URL, content=content, headers={"Content-Type": f"image/{image_format.lower()}"})
    assert reply.json()["tokens"] == tokenizer.encode(image[np.newaxis]).tolist()


def test_the_content_type_may_have_parameters_and_capitals(client, jpegs, expected):
    reply = client.post(URL, content=jpegs[0], headers={"Content-Type": "Image/JPEG; name=photo.jpg"})
    assert reply.json()["tokens"] == expected[:1].tolist()


def test_a_body_of_unknown_length(client, jpegs, expected):
    chunks = (jpegs[0][start : start + 100] for start in range(0, len(jpegs[0]), 100))
    reply = client.post(URL, content=chunks, headers={"Content-Type": "image/jpeg"})
    assert reply.json()["tokens"] == expected[:1].tolist()


def test_multipart_keeps_the_order_of_files_and_ignores_their_field_names(client, jpegs, expected):
    names = ["b", "a", "file", "a"]
    files = [(name, (f"{name}.jpg", jpeg, "image/jpeg")) for name, jpeg in zip(names, jpegs, strict=True)]
    reply = client.post(URL, files=files)
    assert reply.status_code == 200
    assert reply.json()["tokens"] == expected.tolist()


def test_json_with_one_image_and_with_many(client, jpegs, expected):
    texts = [base64.b64encode(jpeg).decode() for jpeg in jpegs]
    one = client.post(URL, json={"image": texts[0]})
    many = client.post(URL, json={"images": texts})
    data_urls = client.post(URL, json={"images": [f"data:image/jpeg;base64,{text}" for text in texts]})
    assert one.json()["tokens"] == expected[:1].tolist()
    assert many.json()["tokens"] == data_urls.json()["tokens"] == expected.tolist()


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_the_models_size(client, random_images, tiny_model, npy_file, order):
    content = npy_file(np.asarray(random_images, order=order))
    reply = client.post(URL, content=content, headers={"Content-Type": "application/x-npy"})
    assert reply.json()["tokens"] == tiny_model.encode(random_images).tolist()


@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_npy_of_another_size_is_fitted_image_by_image(client, photographs, tokenizer, npy_file, resize):
    images = np.stack([photographs[0][:20, :30], photographs[2][:20, :30]])
    fitted = [fit(image, height=8, width=8, resize=resize) for image in images]
    reply = client.post(
        URL,
        params={"resize": resize},
        content=npy_file(images),
        headers={"Content-Type": "application/x-npy"},
    )
    assert reply.json()["tokens"] == tokenizer.encode(np.stack(fitted)).tolist()


def test_npy_as_the_reply(client, jpegs, expected, tokenizer, read_npy):
    files = [("f", (f"{index}.jpg", jpeg)) for index, jpeg in enumerate(jpegs)]
    reply = client.post(URL, files=files, headers={"Accept": "application/x-npy"})
    assert reply.headers["content-type"] == "application/x-npy"
    assert reply.headers["x-model"] == "tiny-colors"
    assert reply.headers["x-codebook-hash"] == tokenizer.codebook.sha256
    tokens = read_npy(reply.content)
    assert tokens.dtype == np.int32
    assert np.array_equal(tokens, expected)


def test_resize_decides_what_happens_to_another_size(client, tokenizer, image_file):
    # Black with white ends: squashing keeps the ends, cropping cuts them off.
    image = np.zeros((8, 32, 3), dtype=np.uint8)
    image[:, :8] = image[:, 24:] = 255
    content, headers = image_file(image), {"Content-Type": "image/png"}

    def tokens(params: dict[str, str]) -> list[list[list[int]]]:
        return client.post(URL, params=params, content=content, headers=headers).json()["tokens"]

    cropped = tokenizer.encode(fit(image, height=8, width=8, resize="crop")[np.newaxis]).tolist()
    squashed = tokenizer.encode(fit(image, height=8, width=8, resize="squash")[np.newaxis]).tolist()
    assert cropped != squashed
    assert tokens({}) == tokens({"resize": "crop"}) == cropped
    assert tokens({"resize": "squash"}) == squashed

    refused = client.post(URL, params={"resize": "strict"}, content=content, headers=headers)
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "image_size_mismatch"
    exact = client.post(URL, params={"resize": "strict"}, content=image_file(image[:, :8]), headers=headers)
    assert exact.status_code == 200


def test_a_bad_image_among_good_ones_is_named(client, jpegs):
    files = [("f", ("0.jpg", jpegs[0])), ("f", ("1.jpg", b"\xff\xd8\xff broken"))]
    reply = client.post(URL, files=files)
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "undecodable_image"
    assert reply.json()["error"]["message"].startswith("image 1: ")


def test_images_are_counted(client, jpegs, metric):
    sample = 'kohonen_images_total{operation="encode"}'
    before = metric(client, sample)
    client.post(URL, files=[("f", (f"{index}.jpg", jpeg)) for index, jpeg in enumerate(jpegs)])
    assert metric(client, sample) == before + len(jpegs)


def test_what_encode_replies_decode_takes(client, jpegs):
    encoded = client.post(URL, content=jpegs[0], headers={"Content-Type": "image/jpeg"})
    decoded = client.post("/decode", content=encoded.content, headers={"Content-Type": "application/json"})
    assert decoded.status_code == httpx.codes.OK
    again = client.post(URL, content=decoded.content, headers={"Content-Type": "image/png"})
    assert again.json() == encoded.json()
