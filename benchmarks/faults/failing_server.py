"""A server whose encoder fails from SIGUSR1 on, hangs from SIGUSR2 on, and works again after SIGWINCH.

Run as a module, with the options of `kohonen-tokenizer serve`, in place of that command.
"""

import signal
import sys
import threading
from pathlib import Path

from kohonen_tokenizer import Tokenizer
from kohonen_tokenizer.pixels import Pixels
from kohonen_tokenizer.service.http.logs import configure_logging
from kohonen_tokenizer.service.http.models import LoadedModel
from kohonen_tokenizer.service.http.server import run
from kohonen_tokenizer.service.http.settings import Settings
from kohonen_tokenizer.service.runtime.backend import Backend, Tokens
from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.onnx_backend import OnnxBackend


class FailingBackend:
    """A backend as good as the one it stands before, until it is told to fail."""

    def __init__(self, backend: Backend) -> None:
        self.description = f"{backend.description}, made to fail"
        self.is_on_cpu = backend.is_on_cpu
        self.num_parallel_runs = backend.num_parallel_runs
        self.max_batch_size = backend.max_batch_size
        self.decode = backend.decode
        self.fails = False
        self.runs = threading.Event()
        self.runs.set()
        self._backend = backend

    def encode(self, pixels: Pixels) -> Tokens:
        """Tokens, or what a lost device gives."""
        self.runs.wait()
        if self.fails:
            raise RuntimeError("CUDA failure 719: unspecified launch failure (simulated)")
        return self._backend.encode(pixels)


def main() -> None:
    """Serve until SIGTERM."""
    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    settings = Settings(
        bundle=Path(arguments["--bundle"]), port=int(arguments["--port"]), log_level="warning"
    )
    configure_logging(settings.log_level, log_format=settings.log_format)
    bundle = load_bundle(Path(arguments["--bundle"]))
    backend = FailingBackend(OnnxBackend.load(bundle, device="cpu", num_threads=1))

    def fail(*_: object) -> None:
        backend.fails = True

    def hang(*_: object) -> None:
        backend.runs.clear()

    def recover(*_: object) -> None:
        backend.fails = False
        backend.runs.set()

    for number, action in ((signal.SIGUSR1, fail), (signal.SIGUSR2, hang), (signal.SIGWINCH, recover)):
        signal.signal(number, action)
    tokenizer = Tokenizer(bundle, backend=backend)
    run(settings, models=[LoadedModel(name=bundle.manifest.name, version="1", tokenizer=tokenizer)])


if __name__ == "__main__":
    main()
