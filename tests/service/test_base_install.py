"""The base install, which has no torch, runs bundles; and says what to install for more."""

import io
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

BASE_PYTHON = Path(
    os.environ.get("TEST_BASE_PYTHON") or Path(__file__).parents[2] / ".venv-serve" / "bin" / "python"
)

SHIPPED = Path(__file__).parents[2] / "bundles" / "cifar10-ksom-512"

pytestmark = pytest.mark.skipif(
    not BASE_PYTHON.exists(), reason=f"no base install at {BASE_PYTHON}; make .venv-serve/.ready makes it"
)

ROUND_TRIP = """
import importlib.util
import sys

for absent in ("torch", "torchvision", "onnx", "pytest"):
    assert importlib.util.find_spec(absent) is None, f"{absent} is installed: this is no base install"

import numpy as np
from kohonen_tokenizer import Tokenizer

tokenizer = Tokenizer.load(sys.argv[1])
tokens = np.arange(12).reshape(3, 2, 2)
images = tokenizer.decode(tokens)
assert images.shape == (3, 8, 8, 3)
np.testing.assert_array_equal(images[2, 7, 7], tokenizer.codebook.vectors[11])
np.testing.assert_array_equal(tokenizer.encode(images), tokens)
assert [neighbor.token for neighbor in tokenizer.neighbors(0)] == [1, 4, 5]
print("round trip")
"""


def run_base(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BASE_PYTHON, "-W", "error", *args], capture_output=True, text=True, check=False)


def install_command(extra: str) -> str:
    """What the base install says to run for `extra`."""
    code = "import sys; from kohonen_tokenizer.install_command import *; print(install_command(sys.argv[1]))"
    return run_base("-c", code, extra).stdout.rstrip()


def test_the_runtime_works_without_torch(tiny_bundle: Path) -> None:
    done = run_base("-c", ROUND_TRIP, tiny_bundle)
    assert (done.returncode, done.stdout, done.stderr) == (0, "round trip\n", "")


def test_the_command_works_without_torch(tiny_bundle: Path) -> None:
    done = run_base("-m", "kohonen_tokenizer", "inspect", tiny_bundle)
    assert done.returncode == 0, done.stderr
    assert "tiny-colors" in done.stdout


def test_the_http_layer_imports_without_torch() -> None:
    done = run_base("-c", "import sys, kohonen_tokenizer.service.http.app; print('torch' in sys.modules)")
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_the_server_works_without_torch(
    tiny_bundle: Path, tiny_model: Any, random_images: np.ndarray
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    image = io.BytesIO()
    Image.fromarray(random_images[0]).save(image, format="PNG")
    command = [BASE_PYTHON, "-W", "error", "-m", "kohonen_tokenizer", "serve"]
    options = ["--bundle", tiny_bundle, "--port", str(port)]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            assert "device auto: " in server.stderr.readline()
            # Logged when the port is open; a request from then on waits for its answer.
            assert "serving tiny-colors" in server.stderr.readline()
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                deadline = time.monotonic() + 60
                while client.get("/readyz").status_code != 200:
                    assert time.monotonic() < deadline, "the server does not become ready"
                reply = client.post(
                    "/encode", content=image.getvalue(), headers={"Content-Type": "image/png"}
                )
        finally:
            server.terminate()
        log = server.stderr.read()
    assert server.returncode == 0, log
    assert reply.status_code == 200, log
    assert reply.json()["tokens"] == tiny_model.encode(random_images[:1]).tolist()


def test_the_backends_of_torch_name_their_extra(tmp_path: Path, random_images: np.ndarray) -> None:
    Image.fromarray(random_images[0]).save(tmp_path / "image.png")
    args = ["encode", tmp_path / "image.png", "--bundle", SHIPPED, "--backend", "torchscript"]
    done = run_base("-m", "kohonen_tokenizer", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: backend torchscript needs torch, which is not installed; "
        f"run: {install_command('torch')}, or use backend onnx\n"
    )


def test_the_doctor_works_without_torch() -> None:
    done = run_base("-m", "kohonen_tokenizer", "doctor", "--bundle", SHIPPED)
    assert (done.returncode, done.stderr) == (0, "")
    assert "device     cpu: usable" in done.stdout
    assert f"backend    torch_export: not usable, run: {install_command('torch')}" in done.stdout


@pytest.mark.parametrize(
    ("args", "extra"),
    [
        (["train", "cifar10-ksom", "--data", "x", "--out", "y"], "training"),
        (["evaluate", "run", "--data", "x"], "training"),
        (["export", "run", "bundle"], "export"),
    ],
)
def test_what_needs_torch_has_its_help_and_names_its_extra(args: list[str], extra: str) -> None:
    command = args[0]
    help_ = run_base("-m", "kohonen_tokenizer", command, "--help")
    assert (help_.returncode, help_.stderr) == (0, "")
    assert f"Example: kohonen-tokenizer {command} " in help_.stdout
    done = run_base("-m", "kohonen_tokenizer", *args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {command} needs ")
    assert done.stderr.endswith(f"run: {install_command(extra)}\n")
    assert done.stderr.count("\n") == 1
