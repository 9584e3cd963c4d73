"""What tokens in JSON cost to read: orjson and our checks, beside the standard library and binary bodies.

python benchmarks/json_tokens.py
"""

import json
import timeit
from collections.abc import Callable

import numpy as np
import orjson

from kohonen_tokenizer.service.npy import write_npy
from kohonen_tokenizer.service.safetensors_bytes import write_safetensors
from kohonen_tokenizer.service.token_grids import read_token_grids

NUM_GRIDS, SIDE, CODEBOOK_SIZE = 64, 32, 512
REPEATS = 30


def main() -> None:
    """Print milliseconds, the least of `REPEATS`, for the tokens of 64 images of 32 x 32 tokens."""
    tokens = np.random.default_rng(0).integers(0, CODEBOOK_SIZE, (NUM_GRIDS, SIDE, SIDE), dtype=np.int32)
    text = orjson.dumps({"tokens": tokens, "model": "m" * 16}, option=orjson.OPT_SERIALIZE_NUMPY)
    npy = write_npy(tokens.astype(np.uint16))
    safetensors = write_safetensors({"tokens": tokens.astype(np.uint16)}, metadata={})
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "JSON, read and checked": (len(text), lambda: read_token_grids(text, kind="json")),
        "JSON, orjson alone": (len(text), lambda: orjson.loads(text)),
        "JSON, json.loads alone": (len(text), lambda: json.loads(text)),
        "npy uint16": (len(npy), lambda: read_token_grids(npy, kind="npy")),
        "safetensors uint16": (len(safetensors), lambda: read_token_grids(safetensors, kind="safetensors")),
    }
    for name, (num_bytes, work) in works.items():
        milliseconds = min(timeit.repeat(work, number=1, repeat=REPEATS)) * 1000
        print(f"{name:25} {num_bytes:8,} bytes {milliseconds:8.3f} ms")


if __name__ == "__main__":
    main()
