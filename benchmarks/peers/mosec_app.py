"""mosec: a web layer in Rust, its dynamic batching, and Python workers in processes; raw bytes in and out by
`deserialize` and `serialize`, as in its examples. A worker a CPU, of one thread a run.
"""

import os

import numpy as np
from encoder import NUM_CPUS, Encoder, from_npy, to_json, to_npy
from mosec import Server, Worker


class EncodeJpeg(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(num_threads=1)

    def deserialize(self, data: bytes) -> np.ndarray:
        return self.encoder.decode(data)

    def forward(self, data: list[np.ndarray]) -> list[np.ndarray]:
        return list(self.encoder(np.stack(data)))

    def serialize(self, data: np.ndarray) -> bytes:
        return to_json(data[np.newaxis])


class EncodeNpy(Worker):
    resp_mime_type = "application/x-npy"

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(num_threads=1)

    def deserialize(self, data: bytes) -> np.ndarray:
        return from_npy(data)

    def forward(self, data: np.ndarray) -> np.ndarray:
        return self.encoder(data)

    def serialize(self, data: np.ndarray) -> bytes:
        return to_npy(data)


if __name__ == "__main__":
    os.environ |= {
        "MOSEC_ADDRESS": "127.0.0.1",
        "MOSEC_PORT": os.environ["PORT"],
        "MOSEC_LOG_LEVEL": "warning",
        "MOSEC_TIMEOUT": "10000",
    }
    server = Server()
    server.append_worker(EncodeJpeg, num=NUM_CPUS, max_batch_size=32, max_wait_time=2, route="/jpeg")
    server.append_worker(EncodeNpy, num=NUM_CPUS, route="/npy")
    server.run()
