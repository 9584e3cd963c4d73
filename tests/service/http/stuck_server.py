"""A server whose encoder works once, for the warm-up, and then never ends: a process for test_server.py."""

import threading

from kohonen_tokenizer.service.http.server import run
from kohonen_tokenizer.service.http.settings_sources import read_settings
from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.onnx_backend import OnnxBackend
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer


class StuckBackend:
    """Decodes as a backend does, and encodes as it does once."""

    def __init__(self, backend):
        self.decode = backend.decode
        self._backend = backend
        self._is_stuck = False

    def encode(self, pixels):
        if self._is_stuck:
            threading.Event().wait()
        self._is_stuck = True
        return self._backend.encode(pixels)


settings = read_settings({})
bundle = load_bundle(settings.bundle)
backend = StuckBackend(OnnxBackend.load(bundle, device="cpu", num_threads=1))
run(settings, tokenizer=Tokenizer(bundle, backend=backend))
