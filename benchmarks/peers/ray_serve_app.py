"""Ray Serve with its dynamic batching, HAProxy as its ingress and its options for throughput, which its
documentation has for heavy loads (RAY_SERVE_ENABLE_HA_PROXY and RAY_SERVE_THROUGHPUT_OPTIMIZED).

A replica a CPU, of one thread a run.
"""

import os

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
}

import asyncio

import numpy as np
import ray
from encoder import NUM_CPUS, Encoder, from_npy, to_json, to_npy
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(
    num_replicas=NUM_CPUS, max_ongoing_requests=128, logging_config=LoggingConfig(enable_access_log=False)
)
class Tokens:
    def __init__(self) -> None:
        self.encoder = Encoder(num_threads=1)

    async def __call__(self, request: Request) -> Response:
        body = await request.body()
        if request.url.path == "/npy":
            tokens = await asyncio.to_thread(self.encoder, from_npy(body))
            return Response(to_npy(tokens), media_type="application/x-npy")
        return Response(to_json(await self.encode(body)), media_type="application/json")

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002)
    async def encode(self, jpegs: list[bytes]) -> list[np.ndarray]:
        tokens = await asyncio.to_thread(self.encode_batch, jpegs)
        return list(tokens[:, np.newaxis])

    def encode_batch(self, jpegs: list[bytes]) -> np.ndarray:
        return self.encoder(np.stack([self.encoder.decode(jpeg) for jpeg in jpegs]))


if __name__ == "__main__":
    ray.init(_node_ip_address="127.0.0.1", num_cpus=NUM_CPUS, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"]), "access_log": False})
    serve.run(Tokens.bind(), blocking=True)
