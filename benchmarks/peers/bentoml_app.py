"""BentoML: a worker a CPU, of one thread a run; raw bodies by root inputs.

Without its adaptive batching. That takes lists, so that one image a request needs a second service in front;
with 1.4.40 the pair answered half as many requests, and some of 64 at once with a 500.
"""

import os
from typing import Annotated

os.environ["BENTOML_DO_NOT_TRACK"] = "True"

import bentoml
import numpy as np
from bentoml.validators import ContentType
from encoder import NUM_CPUS, Encoder, from_npy, to_json, to_npy

Jpeg = Annotated[bytes, ContentType("image/jpeg")]
Json = Annotated[bytes, ContentType("application/json")]
Npy = Annotated[bytes, ContentType("application/x-npy")]


@bentoml.service(
    workers=NUM_CPUS, threads=1, logging={"access": {"enabled": False}}, metrics={"enabled": False}
)
class Tokens:
    def __init__(self) -> None:
        self.encoder = Encoder(num_threads=1)

    @bentoml.api(route="/jpeg")
    def encode_jpeg(self, body: Jpeg, /) -> Json:
        return to_json(self.encoder(self.encoder.decode(body)[np.newaxis]))

    @bentoml.api(route="/npy")
    def encode_npy(self, body: Npy, /) -> Npy:
        return to_npy(self.encoder(from_npy(body)))
