"""A server whose encoder never comes back from a white image: a process for test_server.py."""

import threading

from kohonen_tokenizer.service.http.logs import configure_logging
from kohonen_tokenizer.service.http.models import LoadedModel
from kohonen_tokenizer.service.http.server import run
from kohonen_tokenizer.service.http.settings_sources import read_settings
from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.onnx_backend import OnnxBackend
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer


class StuckBackend:
    """Decodes as a backend does, and encodes as it does, but for white."""

    description = "stuck"
    is_on_cpu = True
    num_parallel_runs = 1
    max_batch_size = 64

    def __init__(self, backend):
        self.decode = backend.decode
        self._backend = backend

    def encode(self, pixels):
        if pixels.min() == 255:
            threading.Event().wait()
        return self._backend.encode(pixels)


settings = read_settings({})
configure_logging(settings.log_level, log_format=settings.log_format)
bundle = load_bundle(settings.bundle)
tokenizer = Tokenizer(bundle, backend=StuckBackend(OnnxBackend.load(bundle, device="cpu", num_threads=1)))
run(settings, models=[LoadedModel(name="tiny-colors", version="1", tokenizer=tokenizer)])
