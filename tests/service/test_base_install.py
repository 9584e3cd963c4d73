"""The base install, which has no torch, runs bundles; and says what to install for more."""

import os
import subprocess
from pathlib import Path

import pytest

BASE_PYTHON = Path(
    os.environ.get("TEST_BASE_PYTHON") or Path(__file__).parents[2] / ".venv-serve" / "bin" / "python"
)

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


@pytest.mark.parametrize(
    ("command", "extra"), [("train", "training"), ("evaluate", "training"), ("export", "export")]
)
def test_what_needs_torch_names_its_extra(command: str, extra: str) -> None:
    done = run_base("-m", "kohonen_tokenizer", command)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {command} needs ")
    assert done.stderr.endswith(f"run: pip install 'kohonen-tokenizer[{extra}]'\n")
    assert done.stderr.count("\n") == 1
