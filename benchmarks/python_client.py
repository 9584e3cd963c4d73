"""The Python client beside plain loops with httpx, and the model in this process: images a second.

    python -m benchmarks.python_client

All encode the same images by the shipped bundle, on this machine, in rounds that follow each other, and give
the same tokens, which is checked. What the loops lack is what the client is for: retries, order, bounds.
"""

import argparse
import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from kohonen_tokenizer import Tokenizer
from kohonen_tokenizer_client import Client

from .processes import end_on_sigterm

_BUNDLE = Path(__file__).parents[1] / "bundles" / "cifar10-ksom-512"
_BATCH = 64
_CONCURRENCY = 4
_NPY = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}


def main() -> None:
    """Measure and print."""
    end_on_sigterm()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=8765)
    arguments = parser.parse_args()
    images = _crops(arguments.images)
    files = [_jpeg(image) for image in images]
    tokenizer = Tokenizer.load(_BUNDLE)
    url = f"http://127.0.0.1:{arguments.port}"
    command = ["-m", "kohonen_tokenizer", "serve", "--bundle", str(_BUNDLE), "--port", str(arguments.port)]
    server = subprocess.Popen([sys.executable, *command, "--log-level", "warning"])
    try:
        _wait_until_ready(url)
        with Client(url, batch_size=_BATCH, concurrency=_CONCURRENCY) as client:
            ways: dict[str, Callable[[], object]] = {
                "arrays: in process": lambda: tokenizer.encode(images),
                "arrays: httpx, one after the other": lambda: _loop(url, images, num_threads=1),
                "arrays: httpx, 4 threads": lambda: _loop(url, images, num_threads=_CONCURRENCY),
                "arrays: client": lambda: client.encode(images),
                "JPEGs: httpx, one a request": lambda: _one_by_one(url, files, num_threads=1),
                "JPEGs: httpx, one a request, 4 threads": lambda: _one_by_one(url, files, num_threads=4),
                "JPEGs: client": lambda: client.encode(files),
            }
            rates = _measure(ways, num_images=len(images), rounds=arguments.rounds)
    finally:
        server.terminate()
        server.wait()
    for name, values in rates.items():
        print(f"{name:40} {statistics.median(values):8.0f} images/s")
    for base in ("arrays: httpx, one after the other", "arrays: httpx, 4 threads"):
        print(f"client / {base}: {_ratio(rates['arrays: client'], rates[base]):.2f}")
    for base in ("JPEGs: httpx, one a request", "JPEGs: httpx, one a request, 4 threads"):
        print(f"client / {base}: {_ratio(rates['JPEGs: client'], rates[base]):.2f}")


def _measure(
    ways: dict[str, Callable[[], object]], *, num_images: int, rounds: int
) -> dict[str, list[float]]:
    """Images a second of each way, in each round; the first is not counted.

    Raises:
        ValueError: two ways of one kind gave different tokens.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(rounds + 1):
        tokens: dict[str, object] = {}
        for name, encode in ways.items():
            started = time.perf_counter()
            result = encode()
            seconds = time.perf_counter() - started
            kind = name.partition(":")[0]
            if not np.array_equal(tokens.setdefault(kind, result), result):
                raise ValueError(f"{name} gives other tokens than another way")
            if round_number:
                rates[name].append(num_images / seconds)
    return rates


def _ratio(rates: Sequence[float], base: Sequence[float]) -> float:
    """The median of the ratios within a round."""
    return statistics.median(rate / other for rate, other in zip(rates, base, strict=True))


def _loop(url: str, images: np.ndarray, *, num_threads: int) -> np.ndarray:
    """The loop of docs/serving.md, but that it does not wait where the service asks for it."""
    with (
        httpx.Client(base_url=url, headers=_NPY, timeout=60) as http,
        ThreadPoolExecutor(num_threads) as pool,
    ):

        def encode(start: int) -> np.ndarray:
            body = io.BytesIO()
            np.save(body, images[start : start + _BATCH])
            reply = http.post("/encode?dtype=uint16", content=body.getvalue()).raise_for_status()
            return np.load(io.BytesIO(reply.content))

        return np.concatenate(list(pool.map(encode, range(0, len(images), _BATCH))))


def _one_by_one(url: str, files: Sequence[bytes], *, num_threads: int) -> np.ndarray:
    headers = _NPY | {"Content-Type": "image/jpeg"}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=60) as http,
        ThreadPoolExecutor(num_threads) as pool,
    ):

        def encode(file: bytes) -> np.ndarray:
            reply = http.post("/encode?dtype=uint16", content=file).raise_for_status()
            return np.load(io.BytesIO(reply.content))

        return np.concatenate(list(pool.map(encode, files)))


def _wait_until_ready(url: str) -> None:
    for _ in range(600):
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    sys.exit("error: the server is not ready after a minute")


def _crops(count: int) -> np.ndarray:
    """Crops of two photographs: uint8 [count, 32, 32, 3]."""
    random = np.random.default_rng(0)
    photographs = load_sample_images().images
    crops = []
    for number in range(count):
        photograph = photographs[number % 2]
        y, x = (random.integers(0, side - 32) for side in photograph.shape[:2])
        crops.append(photograph[y : y + 32, x : x + 32])
    return np.stack(crops)


def _jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=90)
    return file.getvalue()


if __name__ == "__main__":
    main()
