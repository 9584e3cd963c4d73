"""The hostile images over a real socket: each gets its tokens or its error, and the server lives on."""

import httpx
import numpy as np
import pytest

from kohonen_tokenizer.service.runtime.images import fit

from ..hostile_images import MAX_PIXELS, HostileImage, hostile_images

HOSTILE_IMAGES = [image for image in hostile_images() if image.data]  # no bytes are no body, hence no image


@pytest.fixture(scope="module")
def strict_server(start_server, tiny_bundle):
    """A server with the corpus' limit of pixels, which ends as it should after all of it."""
    server = start_server(tiny_bundle, max_image_pixels=MAX_PIXELS)
    yield server
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="module")
def strict_client(strict_server):
    """One connection, kept over all requests."""
    with httpx.Client(base_url=strict_server.url) as client:
        yield client


def _encode(client: httpx.Client, image: HostileImage) -> httpx.Response:
    return client.post("/encode", content=image.data, headers={"Content-Type": image.media_type})


def _tokens(image: HostileImage, model) -> list:
    pixels = np.asarray(image.answer).astype(np.uint8)
    return model.encode(fit(pixels, height=8, width=8)[np.newaxis]).tolist()


@pytest.mark.parametrize("image", HOSTILE_IMAGES, ids=lambda image: image.name)
def test_a_hostile_image_gets_its_answer(strict_client, tiny_model, image):
    reply = _encode(strict_client, image)
    if isinstance(image.answer, np.ndarray):
        assert reply.status_code == 200, reply.text
        assert reply.json()["tokens"] == _tokens(image, tiny_model)
    else:
        assert reply.status_code == image.answer.status, reply.text
        assert reply.json()["error"]["code"] == image.answer.code
        assert "\n" not in reply.json()["error"]["message"]


def test_in_one_request_the_first_that_is_refused_is_named(strict_client):
    good = [image for image in HOSTILE_IMAGES if isinstance(image.answer, np.ndarray)][:3]
    bad = [image for image in HOSTILE_IMAGES if not isinstance(image.answer, np.ndarray)]
    for image in bad[::10]:
        files = [("f", (f"{part.name}.jpg", part.data)) for part in (*good, image, *good)]
        reply = strict_client.post("/encode", files=files)
        assert reply.status_code == image.answer.status
        assert reply.json()["error"]["code"] == image.answer.code
        assert reply.json()["error"]["message"].startswith("image 3: ")


def test_after_all_of_them_the_server_works(strict_client, strict_server, tiny_model):
    assert strict_server.process.poll() is None
    assert strict_client.get("/readyz").status_code == 200
    image = next(image for image in HOSTILE_IMAGES if image.name == "PNG, then garbage")
    assert _encode(strict_client, image).json()["tokens"] == _tokens(image, tiny_model)
