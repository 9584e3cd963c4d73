"""JPEG decoders side by side: time, pixels against Pillow's, tokens of the shipped model.

    python benchmarks/image_decoding.py [--folder JPEG_FOLDER] [--json benchmarks/results/image_decoding.json]

The files are made from scikit-learn's two photographs; `--folder` adds files of your own, such as CIFAR-10.
All decoders take turns in every round, so that a busy machine slows them alike; the best round counts. Times
are of the processor, but for the gain of a second thread, which needs a machine at rest. OpenCV and
PyTurboJPEG, which the service does not need, are compared where they can be imported.
"""

import argparse
import importlib
import importlib.metadata
import io
import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, features
from sklearn.datasets import load_sample_images

from kohonen_tokenizer import Tokenizer
from kohonen_tokenizer.atomic_file import write_atomically
from kohonen_tokenizer.pixels import Pixels
from kohonen_tokenizer.service.runtime.images import decode_image, fit
from kohonen_tokenizer.service.runtime.threads import available_threads

BUNDLE = Path(__file__).parents[1] / "bundles" / "cifar10-ksom-512"
SIDES = (32, 256, 1024, 2048)
QUALITIES = (75, 85, 95)
ENCODINGS: dict[str, dict[str, Any]] = {
    "4:2:0": {"subsampling": 2},
    "4:4:4": {"subsampling": 0},
    "4:2:0 progressive": {"subsampling": 2, "progressive": True},
}
MAX_FILES_TIMED = 200
MIN_PIXELS_TIMED = 3_000_000
SCALED = "simplejpeg scaled"

Decoder = Callable[[bytes], Pixels]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One decoder on one set of files."""

    files: str
    decoder: str
    num_files: int
    one_thread_ms: float
    """Milliseconds of processor time an image."""
    two_threads_speedup: float
    """Images a second in two threads over those in one: near 2 without the GIL, on two cores at rest."""
    decode_and_fit_ms: float
    """Milliseconds of processor time an image, until it has the model's size."""
    num_equal: int | None
    """Files whose pixels are Pillow's, bit for bit; None for a decoder that gives another size."""
    max_difference: int | None
    """The largest difference of a sample from Pillow's."""
    tokens_equal: float
    """The share of tokens that are those of Pillow's pixels."""


def with_pillow(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def with_simplejpeg(data: bytes) -> Pixels:
    pixels: Pixels = simplejpeg.decode_jpeg(data)
    return pixels


def with_simplejpeg_scaled(data: bytes) -> Pixels:
    """Decoded at the smallest eighths that cover 32 x 32: other pixels, hence other tokens."""
    pixels: Pixels = simplejpeg.decode_jpeg(data, min_height=32, min_width=32)
    return pixels


def with_the_service(data: bytes) -> Pixels:
    return decode_image(data, max_pixels=2**28)


def find_decoders() -> tuple[dict[str, Decoder], dict[str, str]]:
    """The decoders that can be imported here, and why the others cannot."""
    decoders: dict[str, Decoder] = {
        "Pillow": with_pillow,
        "simplejpeg": with_simplejpeg,
        "service": with_the_service,
        SCALED: with_simplejpeg_scaled,
    }
    missing = {}
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        missing["OpenCV"] = str(error)
    else:
        decoders["OpenCV"] = lambda data: cv2.imdecode(
            np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB
        )
    try:
        turbojpeg = importlib.import_module("turbojpeg")
        library = turbojpeg.TurboJPEG()
    except (ImportError, RuntimeError) as error:
        missing["PyTurboJPEG"] = str(error).partition(".")[0]
    else:
        decoders["PyTurboJPEG"] = lambda data: library.decode(data, pixel_format=turbojpeg.TJPF_RGB)
    return decoders, missing


def photograph_files() -> dict[str, list[bytes]]:
    """Sets of JPEG files by name: each photograph in each quality, squashed to a square."""
    photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]
    sets = {}
    for side, (encoding, options) in product(SIDES, ENCODINGS.items()):
        squares = [photograph.resize((side, side), Image.Resampling.BICUBIC) for photograph in photographs]
        sets[f"{side} x {side}, {encoding}"] = [
            jpeg_file(square, quality=quality, **options) for square, quality in product(squares, QUALITIES)
        ]
    return sets


def jpeg_file(image: Image.Image, *, quality: int, subsampling: int, progressive: bool = False) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    return file.getvalue()


def seconds_per_file(work: Callable[[bytes], object], files: list[bytes], *, repeats: int) -> float:
    start = time.thread_time()
    for _ in range(repeats):
        for data in files:
            work(data)
    return (time.thread_time() - start) / (repeats * len(files))


def seconds_per_file_in_two_threads(
    work: Callable[[bytes], object], files: list[bytes], *, repeats: int, pool: ThreadPoolExecutor
) -> float:
    start = time.perf_counter()
    list(pool.map(lambda _: seconds_per_file(work, files, repeats=repeats), range(2)))
    return (time.perf_counter() - start) / (2 * repeats * len(files))


def compare(
    name: str, files: list[bytes], *, decoders: dict[str, Decoder], tokenizer: Tokenizer, rounds: int
) -> list[Result]:
    """All decoders on one set of files."""
    height, width = tokenizer.manifest.image.height, tokenizer.manifest.image.width

    def fitted(decode: Decoder, data: bytes) -> Pixels:
        return fit(decode(data), height=height, width=width)

    timed = files[:MAX_FILES_TIMED]
    num_pixels = sum(with_pillow(data).size // 3 for data in timed)
    repeats = -(-MIN_PIXELS_TIMED // num_pixels)
    best = {decoder: [float("inf")] * 3 for decoder in decoders}
    with ThreadPoolExecutor(max_workers=2) as pool:
        for _ in range(rounds):
            for decoder, decode in decoders.items():
                times = (
                    seconds_per_file(decode, timed, repeats=repeats),
                    seconds_per_file_in_two_threads(decode, timed, repeats=repeats, pool=pool),
                    seconds_per_file(lambda data, d=decode: fitted(d, data), timed, repeats=repeats),  # type: ignore[misc]
                )
                best[decoder] = [min(pair) for pair in zip(best[decoder], times, strict=True)]

    def tokens(decode: Decoder) -> npt.NDArray[np.int32]:
        return tokenizer.encode(np.stack([fitted(decode, data) for data in files]))

    reference = tokens(with_pillow)
    results = []
    for decoder, decode in decoders.items():
        one, two, whole = best[decoder]
        differences = None if decoder == SCALED else [difference(decode(d), with_pillow(d)) for d in files]
        are_equal = differences is not None and not any(differences)
        results.append(
            Result(
                files=name,
                decoder=decoder,
                num_files=len(files),
                one_thread_ms=1e3 * one,
                two_threads_speedup=one / two,
                decode_and_fit_ms=1e3 * whole,
                num_equal=None if differences is None else differences.count(0),
                max_difference=None if differences is None else max(differences),
                tokens_equal=1.0 if are_equal else float((tokens(decode) == reference).mean()),
            )
        )
    return results


def difference(pixels: Pixels, reference: Pixels) -> int:
    return int(np.abs(pixels.astype(np.int16) - reference).max())


def device() -> str:
    """The processor's name and the number of its cores that this process may use."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {available_threads()} cores"


def versions() -> dict[str, str]:
    found = {
        "Python": platform.python_version(),
        "Pillow's libjpeg-turbo": str(features.version("libjpeg_turbo")),
    }
    for package in ("pillow", "simplejpeg", "numpy", "opencv-python-headless", "PyTurboJPEG"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def table(title: str, results: list[Result], cell: Callable[[Result], str]) -> str:
    """Markdown: a row for each set of files, a column for each decoder."""
    decoders = list(dict.fromkeys(result.decoder for result in results))
    rows: dict[str, dict[str, str]] = {}
    for result in results:
        rows.setdefault(f"{result.files} ({result.num_files})", {})[result.decoder] = cell(result)
    lines = [f"| {title} | {' | '.join(decoders)} |", "|---" * (1 + len(decoders)) + "|"]
    lines += [
        f"| {name} | {' | '.join(cells[decoder] for decoder in decoders)} |" for name, cells in rows.items()
    ]
    return "\n".join(lines)


def describe_pixels(result: Result) -> str:
    pixels = "another size"
    if result.num_equal is not None:
        pixels = "equal" if result.num_equal == result.num_files else f"{result.max_difference} off"
    return f"{pixels}, {100 * result.tokens_equal:.2f}%"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="a folder of JPEG files to compare on as well")
    parser.add_argument("--rounds", type=int, default=5, help="how often every decoder takes its turn")
    parser.add_argument(
        "--json", type=Path, help="where to write the figures; the table goes beside it as .md"
    )
    arguments = parser.parse_args()

    sets = {}
    if arguments.folder:
        paths = sorted(arguments.folder.rglob("*.jp*g"))
        sets[arguments.folder.name] = [path.read_bytes() for path in paths]
    sets |= photograph_files()
    decoders, missing = find_decoders()
    tokenizer = Tokenizer.load(BUNDLE)
    load = os.getloadavg()[0]
    results = []
    for name, files in sets.items():
        results += compare(name, files, decoders=decoders, tokenizer=tokenizer, rounds=arguments.rounds)

    now = datetime.now(UTC).isoformat(timespec="seconds")
    report = "\n\n".join(
        [
            f"JPEG decoding on {device()}, load {load:.1f}, {now}. In brackets: the number of files.",
            table("ms an image", results, lambda result: f"{result.one_thread_ms:.3f}"),
            table("gain of a second thread", results, lambda result: f"{result.two_threads_speedup:.2f}x")
            if load < available_threads() / 2
            else "The gain of a second thread is not shown: other work kept the cores busy.",
            table("ms an image, cropped to 32 x 32", results, lambda r: f"{r.decode_and_fit_ms:.3f}"),
            table("pixels against Pillow's, tokens equal", results, describe_pixels),
            "Versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()) + ".",
            *(f"Not compared: {name}, {reason}." for name, reason in missing.items()),
        ]
    )
    print(report)
    if arguments.json:
        figures = {
            "device": device(),
            "load": load,
            "date": now,
            "versions": versions(),
            "not_compared": missing,
            "rounds": arguments.rounds,
            "results": [asdict(result) for result in results],
        }
        write_atomically(arguments.json, (json.dumps(figures, indent=1) + "\n").encode())
        write_atomically(arguments.json.with_suffix(".md"), f"{report}\n".encode())


if __name__ == "__main__":
    main()
