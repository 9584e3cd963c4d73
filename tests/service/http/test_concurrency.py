"""Many requests at once: each gets its own answer."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

NUM_REQUESTS = 32


def test_parallel_requests_get_their_own_answers(server, tiny_model, npy_file, read_npy):
    random = np.random.default_rng(2)
    batches = [
        random.integers(0, 256, size=(1 + index % 5, 8, 8, 3), dtype=np.uint8)
        for index in range(NUM_REQUESTS)
    ]
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}

    def round_trip(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with httpx.Client(base_url=server.url, headers=headers) as client:
            tokens = client.post("/encode", content=npy_file(batch))
            images = client.post("/decode", content=tokens.content)
        return read_npy(tokens.content), read_npy(images.content)

    with ThreadPoolExecutor(NUM_REQUESTS) as pool:
        answers = list(pool.map(round_trip, batches))
    for batch, (tokens, images) in zip(batches, answers, strict=True):
        expected = tiny_model.encode(batch)
        assert np.array_equal(tokens, expected)
        assert np.array_equal(images, tiny_model.decode(expected))
