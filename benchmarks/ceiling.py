"""The in-process ceiling: the same graph on the same cores, image decoding counted in, without HTTP.

Nothing that answers these requests can be faster, but for noise of the measurement.
"""

import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import simplejpeg

from kohonen_tokenizer.pixels import Pixels, crop
from kohonen_tokenizer.service.runtime.silent_onnxruntime import onnxruntime as ort
from kohonen_tokenizer.service.runtime.threads import available_threads

from .workloads import Workload

BATCH_SIZES = (1, 4, 8, 16, 32, 64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """A way to use all threads: as many runs at once, of one thread each, or one run of all threads."""

    num_runs: int
    threads_per_run: int
    batch_size: int

    def __str__(self) -> str:
        return f"{self.num_runs} x {self.threads_per_run} threads, batch {self.batch_size}"


class Ceiling:
    """Measures how many images a second this process can encode when it has nothing else to do."""

    def __init__(self, encoder: Path) -> None:
        """Start a session of the graph `encoder` for each number of threads that a run may have."""
        self._num_threads = available_threads()
        self._sessions = {count: _start(encoder, num_threads=count) for count in {1, self._num_threads}}

    def find_best(self, workload: Workload, *, seconds: float) -> Configuration:
        """The fastest configuration for `workload`; each is tried for `seconds`."""
        configurations = [
            Configuration(num_runs=num_runs, threads_per_run=threads_per_run, batch_size=batch_size)
            for num_runs, threads_per_run in ((self._num_threads, 1), (1, self._num_threads))
            for batch_size in BATCH_SIZES
        ]
        return max(configurations, key=lambda tried: self.measure(workload, using=tried, seconds=seconds))

    def measure(self, workload: Workload, *, using: Configuration, seconds: float) -> float:
        """Images a second of `workload`, in one configuration."""
        # Runs of one thread share a session: each computes in the thread that calls it.
        session = self._sessions[using.threads_per_run]
        rates = [0.0] * using.num_runs
        together = threading.Barrier(using.num_runs)

        def run(index: int) -> None:
            batches = _batches(workload, size=using.batch_size, num_decoders=using.threads_per_run)
            session.run(None, {"pixels": next(batches)})
            together.wait()
            num_images = 0
            started = time.perf_counter()
            while (elapsed := time.perf_counter() - started) < seconds:
                batch = next(batches)
                session.run(None, {"pixels": batch})
                num_images += len(batch)
            rates[index] = num_images / elapsed

        threads = [threading.Thread(target=run, args=(index,)) for index in range(using.num_runs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(rates)


def _start(encoder: Path, *, num_threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(encoder, options, providers=["CPUExecutionProvider"])


def _batches(workload: Workload, *, size: int, num_decoders: int) -> Iterator[Pixels]:
    """The images of `workload` in batches of `size`, for ever: uint8 [size, H, W, 3]."""
    if workload.images_per_request > 1:
        arrays = [np.load(io.BytesIO(body)) for body in workload.bodies]
        yield from cycle(
            array[first : first + size] for array in arrays for first in range(0, len(array), size)
        )
    bodies = cycle(workload.bodies)
    decode = partial(_decode, size=workload.image_size)
    if num_decoders == 1:
        while True:
            yield np.stack([decode(jpeg) for jpeg in islice(bodies, size)])
    with ThreadPoolExecutor(num_decoders) as decoders:
        # In shares: to hand over each image on its own costs more than to decode it.
        while True:
            jpegs = list(islice(bodies, size))
            shares = [jpegs[first::num_decoders] for first in range(min(num_decoders, size))]
            decoded = decoders.map(lambda share: [decode(jpeg) for jpeg in share], shares)
            yield np.stack([image for images in decoded for image in images])


def _decode(jpeg: bytes, *, size: int) -> Pixels:
    image = simplejpeg.decode_jpeg(jpeg, "RGB")
    return image if image.shape == (size, size, 3) else crop(image, height=size, width=size)
