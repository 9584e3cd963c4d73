"""LitServe with its dynamic batching, and ZeroMQ between its processes, which it offers for throughput.

Bodies come in raw, by an annotation of FastAPI's: base64 in JSON, as in its examples, costs more. There is a
worker for each CPU, of one thread a run.
"""

import os
from typing import Annotated

import litserve
import numpy as np
from encoder import NUM_CPUS, Encoder, from_npy, to_json, to_npy
from fastapi import Body, Response


class JpegAPI(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.encoder = Encoder(num_threads=1)

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> np.ndarray:
        return self.encoder.decode(request)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.encoder(x)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> Response:
        return Response(to_json(output[np.newaxis]), media_type="application/json")


class NpyAPI(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.encoder = Encoder(num_threads=1)

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/x-npy")]) -> np.ndarray:
        return from_npy(request)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.encoder(x)

    def encode_response(self, output: np.ndarray) -> Response:
        return Response(to_npy(output), media_type="application/x-npy")


if __name__ == "__main__":
    server = litserve.LitServer(
        [
            JpegAPI(max_batch_size=32, batch_timeout=0.002, api_path="/jpeg"),
            NpyAPI(api_path="/npy"),
        ],
        accelerator="cpu",
        devices=1,
        workers_per_device=NUM_CPUS,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
