"""A GPU, held against the CPU: equal tokens in every bucket, what CUDA graphs gain, and no silent fall-back.

    python benchmarks/gpu_check.py [--device cuda] [--backend onnx] [--json benchmarks/results/gpu_check.json]

Needs the development install, with the extra gpu. Tokens must be the CPU's but where two codes nearly tie, as
export's parity gate has it; the vectors that decide on that are computed on the CPU. The status is 1 if
anything is not as it must be. `--device cpu` rehearses all of it without a GPU.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import get_args

import numpy as np
import onnx
from PIL import Image
from sklearn.datasets import load_sample_images

from kohonen_tokenizer.atomic_file import write_atomically
from kohonen_tokenizer.export.parity import MAX_PIXEL_DIFFERENCE, TOP2_MARGIN
from kohonen_tokenizer.pixels import Pixels
from kohonen_tokenizer.service.errors import TokenizerError
from kohonen_tokenizer.service.runtime.backend import Backend, Tokens
from kohonen_tokenizer.service.runtime.backends import device_check, load_backend
from kohonen_tokenizer.service.runtime.buckets import BUCKETS
from kohonen_tokenizer.service.runtime.bundle import Bundle, load_bundle
from kohonen_tokenizer.service.runtime.devices import Device
from kohonen_tokenizer.service.runtime.manifest import GraphFormat
from kohonen_tokenizer.service.runtime.onnx_backend import OnnxBackend
from kohonen_tokenizer.service.runtime.silent_onnxruntime import onnxruntime as ort

BUNDLE = Path(__file__).parents[1] / "bundles" / "cifar10-ksom-512"
# Every bucket full, every bucket one short or, for the next, one over, and a batch that is split.
BATCH_SIZES = tuple(sorted({size + extra for size in BUCKETS for extra in (-1, 0, 1)} - {0}))
SECONDS_TIMED = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """The device against the CPU on batches of one size, of real images and of noise."""

    batch_size: int
    num_tokens: int
    num_different: int
    num_wrong: int
    """Tokens that differ where no two codes nearly tie."""
    max_pixel_difference: int
    """Of the decoded pixels, in levels of 255."""

    @property
    def holds(self) -> bool:
        """Whether the export's gate would let it pass."""
        return self.num_wrong == 0 and self.max_pixel_difference <= MAX_PIXEL_DIFFERENCE


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Images a second through one bucket, from and to the memory of the host."""

    batch_size: int
    images_per_s: float
    """As the service runs it: on CUDA by a CUDA graph."""
    images_per_s_without_cuda_graphs: float | None
    """None where there is no such choice."""


def main() -> int:
    """Check, print, and say by the status whether all is well."""
    options = _read_options()
    try:
        device_check(options.backend)(options.device)
        bundle = load_bundle(options.bundle, graph_format=options.backend)
        started = time.perf_counter()
        backend = load_backend(bundle, device=options.device)
        warm_up_s = time.perf_counter() - started
        plain = None
        if (options.device, options.backend) == ("cuda", "onnx"):
            plain = OnnxBackend.load(bundle, device=options.device, cuda_graphs=False)
        reference = load_bundle(options.bundle)
    except TokenizerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(backend.description)
    print(f"loads and warms up in {warm_up_s:.2f} s")
    parities = check_parity(backend, reference=reference)
    for parity in parities:
        print(
            f"batch {parity.batch_size:3d}: of {parity.num_tokens} tokens {parity.num_different} differ, "
            f"{parity.num_wrong} wrongly; pixels differ by at most {parity.max_pixel_difference}: "
            f"{'ok' if parity.holds else 'WRONG'}"
        )
    speeds = [measure_speed(size, backend=backend, plain=plain, bundle=bundle) for size in BUCKETS]
    for speed in speeds:
        slower = speed.images_per_s_without_cuda_graphs
        without = f", {slower:,.0f} without CUDA graphs" if slower is not None else ""
        print(f"batch {speed.batch_size:3d}: {speed.images_per_s:,.0f} images/s{without}")
    refusal = refuse_without_gpu(options.bundle, backend=options.backend)
    is_refused = refusal.startswith('error: device "cuda" does not work here: ') and refusal.count("\n") == 1
    print(f"without a GPU, {'ok' if is_refused else 'WRONG'}: {refusal.strip()}")
    if options.json is not None:
        result = {
            "description": backend.description,
            "warm_up_s": warm_up_s,
            "top2_margin": TOP2_MARGIN,
            "parity": [asdict(parity) for parity in parities],
            "speed": [asdict(speed) for speed in speeds],
            "refusal": refusal.strip(),
        }
        write_atomically(options.json, json.dumps(result, indent=2).encode() + b"\n")
    return 0 if is_refused and all(parity.holds for parity in parities) else 1


def check_parity(backend: Backend, *, reference: Bundle) -> list[Parity]:
    """Compare `backend` with the ONNX graphs of the same bundle on the CPU, at each of BATCH_SIZES."""
    cpu = OnnxBackend.load(reference, device="cpu")
    encoder = _VectorEncoder(reference)
    image = reference.manifest.image
    sources = [
        photograph_cuts(max(BATCH_SIZES), height=image.height, width=image.width),
        np.random.default_rng(0).integers(
            0, 256, (max(BATCH_SIZES), image.height, image.width, image.channels), dtype=np.uint8
        ),
    ]
    parities = []
    for size in BATCH_SIZES:
        num_tokens = num_different = num_wrong = max_difference = 0
        for images in sources:
            batch = images[-size:]
            tokens, expected = backend.encode(batch), cpu.encode(batch)
            num_tokens += tokens.size
            num_different += int((tokens != expected).sum())
            num_wrong += int((encoder.excess(batch, tokens=tokens) > TOP2_MARGIN).sum())
            difference = backend.decode(expected).astype(int) - cpu.decode(expected)
            max_difference = max(max_difference, int(np.abs(difference).max()))
        parities.append(
            Parity(
                batch_size=size,
                num_tokens=num_tokens,
                num_different=num_different,
                num_wrong=num_wrong,
                max_pixel_difference=max_difference,
            )
        )
    return parities


class _VectorEncoder:
    """The encoder up to the vectors that are then quantized, on the CPU."""

    def __init__(self, bundle: Bundle) -> None:
        model = onnx.load_from_string(bundle.encoder)
        makers = {name: node for node in model.graph.node for name in node.output}
        (nearest,) = [node for node in model.graph.node if node.op_type == "ArgMin"]
        # |w|^2 - 2 x w, whose first factor holds the vectors x.
        vectors = makers[nearest.input[0]].input[0]
        del model.graph.output[:]
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(
                vectors, onnx.TensorProto.FLOAT, [None, bundle.manifest.levels[0].code_dim]
            )
        )
        self._session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        self._codebook = bundle.codebook.vectors.astype(np.float64)

    def excess(self, images: Pixels, *, tokens: Tokens) -> np.ndarray:
        """How much farther than the nearest code each token's is, [N], as a top-2 margin is measured."""
        (vectors,) = self._session.run(None, {"pixels": images})
        vectors = vectors.astype(np.float64)
        norms, code_norms = np.square(vectors).sum(1), np.square(self._codebook).sum(1)
        distances = norms[:, None] + code_norms - 2 * vectors @ self._codebook.T
        nearest = distances.argmin(1)
        rows = np.arange(len(vectors))
        gap = distances[rows, tokens.reshape(-1)] - distances[rows, nearest]
        return gap / (norms + code_norms[nearest])


def photograph_cuts(count: int, *, height: int, width: int) -> Pixels:
    """`count` pieces of scikit-learn's two photographs: uint8 [count, height, width, 3]."""
    cuts = [
        photo[y : y + height, x : x + width]
        for photo in load_sample_images().images
        for y in range(0, photo.shape[0] - height + 1, height)
        for x in range(0, photo.shape[1] - width + 1, width)
    ]
    return np.stack([cuts[index % len(cuts)] for index in range(0, 7 * count, 7)])


def measure_speed(size: int, *, backend: Backend, plain: Backend | None, bundle: Bundle) -> Speed:
    """Encode full batches of one bucket for a while, in turns if there are two backends to compare."""
    image = bundle.manifest.image
    batch = np.zeros((size, image.height, image.width, image.channels), dtype=np.uint8)
    backends = [each for each in (backend, plain) if each is not None]
    runs_s: list[list[float]] = [[] for _ in backends]
    deadline = time.perf_counter() + SECONDS_TIMED
    while time.perf_counter() < deadline:
        for each, times in zip(backends, runs_s, strict=True):
            started = time.perf_counter()
            each.encode(batch)
            times.append(time.perf_counter() - started)
    rates = [size / median(times) for times in runs_s]
    return Speed(
        batch_size=size,
        images_per_s=rates[0],
        images_per_s_without_cuda_graphs=rates[1] if plain is not None else None,
    )


def refuse_without_gpu(bundle: Path, *, backend: GraphFormat) -> str:
    """What the command says on stderr when it is asked for CUDA and shown no GPU."""
    content = io.BytesIO()
    Image.new("RGB", (32, 32)).save(content, format="PNG")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        path.write_bytes(content.getvalue())
        command = [sys.executable, "-m", "kohonen_tokenizer", "encode", path, "--bundle", bundle]
        done = subprocess.run(
            [*command, "--device", "cuda", "--backend", backend],
            env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )
    return done.stderr if done.returncode == 2 else f"status {done.returncode}: {done.stderr}{done.stdout}"


def _read_options() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--device", choices=get_args(Device), default="cuda")
    parser.add_argument("--backend", choices=get_args(GraphFormat), default="onnx")
    parser.add_argument("--json", type=Path, help="Where to write the result as JSON.")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
