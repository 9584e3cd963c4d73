"""A plain FastAPI handler, without batching: decoding and the model run in threads, off the event loop.

Raw bodies in and bytes out, which costs the least. A run has one thread, and as many run at once as there are
CPUs: with requests in parallel, more threads only get in each other's way.
"""

import os

import anyio
import anyio.to_thread
import numpy as np
import uvicorn
from encoder import NUM_CPUS, Encoder, from_npy, to_json, to_npy
from fastapi import FastAPI, Request, Response

app = FastAPI()
encoder = Encoder(num_threads=1)
runs = anyio.CapacityLimiter(NUM_CPUS)


def encode_jpeg(body: bytes) -> np.ndarray:
    return encoder(encoder.decode(body)[np.newaxis])


@app.post("/jpeg")
async def jpeg(request: Request) -> Response:
    tokens = await anyio.to_thread.run_sync(encode_jpeg, await request.body(), limiter=runs)
    if request.headers["accept"] == "application/x-npy":
        return Response(to_npy(tokens), media_type="application/x-npy")
    return Response(to_json(tokens), media_type="application/json")


@app.post("/npy")
async def npy(request: Request) -> Response:
    images = from_npy(await request.body())
    tokens = await anyio.to_thread.run_sync(encoder, images, limiter=runs)
    return Response(to_npy(tokens), media_type="application/x-npy")


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        access_log=False,
        log_level="warning",
        backlog=2048,
    )
