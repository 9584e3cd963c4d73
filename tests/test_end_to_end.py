"""The way of a user: train on photographs, evaluate, export, serve, and send an image there and back."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
from PIL import Image

SIZE = 32
RECIPE = """
name = "photos-64"
steps = 60
batch_size = 32
validate_every = 30
checkpoint_every = 30

[data]
source = "folder"
name = "photo crops"
license = "as scikit-learn ships them"

[model]
hidden = 32
residual_channels = 16
code_dim = 16

[model.quantizer]
codebook_size = 64
map_shape = [8, 8]
"""


def command(*arguments):
    return [sys.executable, "-m", "kohonen_tokenizer", *map(str, arguments)]


def run(*arguments):
    result = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def crops(crop_photos):
    return crop_photos(300, size=SIZE)


@pytest.fixture(scope="module")
def bundle(crops, tmp_path_factory):
    """A bundle made by the commands train, evaluate and export."""
    root = tmp_path_factory.mktemp("end-to-end")
    for split, part in (("train", crops[:240]), ("test", crops[240:])):
        (root / "data" / split).mkdir(parents=True)
        for number, crop in enumerate(part):
            Image.fromarray(crop).save(root / "data" / split / f"{number:04d}.jpg", quality=95)
    (root / "recipe.toml").write_text(RECIPE)
    run("train", root / "recipe.toml", "--data", root / "data", "--out", root / "run")
    table = run("evaluate", root / "run", "--data", root / "data", "--json", root / "test.json")
    assert "photo crops, test, 60 images" in table
    run("export", root / "run", root / "photos-64", "--metrics", root / "test.json")
    assert (root / "photos-64.zip").is_file()
    return root / "photos-64"


@pytest.fixture(scope="module")
def service(bundle):
    """The address of a server on the bundle; it must end with status 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(command("serve", "--bundle", bundle, "--port", port), stderr=subprocess.PIPE)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while not _ready(url):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline, "not ready within two minutes"
        time.sleep(0.1)
    yield url
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, process.stderr.read().decode()
    process.stderr.close()


def _ready(url):
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_an_image_goes_there_and_back(service, crops):
    original = crops[250]
    body = io.BytesIO()
    Image.fromarray(original).save(body, format="JPEG", quality=95)
    encoded = httpx.post(f"{service}/encode", content=body.getvalue(), headers={"content-type": "image/jpeg"})
    assert encoded.status_code == 200, encoded.text
    tokens = np.array(encoded.json()["tokens"])
    assert tokens.shape == (1, 8, 8)
    assert encoded.json()["model"] == "photos-64"

    decoded = httpx.post(f"{service}/decode", json={"tokens": tokens.tolist()})
    assert decoded.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(decoded.content)))
    assert picture.shape == (SIZE, SIZE, 3)


def test_many_images_come_back_closer_than_the_mean_image(service, crops):
    body = io.BytesIO()
    np.save(body, crops[240:])
    npy = {"content-type": "application/x-npy", "accept": "application/x-npy"}
    encoded = httpx.post(f"{service}/encode", content=body.getvalue(), headers=npy)
    decoded = httpx.post(f"{service}/decode", content=encoded.content, headers=npy)
    pictures = np.load(io.BytesIO(decoded.content)).astype(float)
    original = crops[240:].astype(float)
    assert pictures.shape == original.shape
    assert np.square(pictures - original).mean() < 0.5 * original.var(axis=0).mean()


def test_neighbors_are_those_of_the_map(service):
    reply = httpx.get(f"{service}/neighbors", params={"token": 9, "radius": 1}).json()
    assert sorted(neighbor["token"] for neighbor in reply["neighbors"]) == [1, 8, 10, 17]


def test_the_command_and_the_service_give_the_same_tokens(service, bundle, crops, tmp_path):
    Image.fromarray(crops[250]).save(tmp_path / "crop.png")
    by_command = json.loads(run("encode", tmp_path / "crop.png", "--bundle", bundle))["tokens"]
    body = (tmp_path / "crop.png").read_bytes()
    by_service = httpx.post(f"{service}/encode", content=body, headers={"content-type": "image/png"})
    assert by_command == by_service.json()["tokens"]


def test_a_changed_graph_is_refused_at_start(bundle, tmp_path):
    for file in bundle.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    graph = tmp_path / "encoder.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    result = subprocess.run(
        command("serve", "--bundle", tmp_path), capture_output=True, text=True, timeout=120, env=os.environ
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "encoder.onnx" in result.stderr
    assert len(result.stderr.splitlines()) == 1
