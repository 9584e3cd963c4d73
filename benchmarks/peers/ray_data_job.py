"""The offline job as Ray Data's documentation has it: read images, map batches in actors, write Parquet.

python ray_data_job.py FOLDER OUT, with the graph in ENCODER.
"""

import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import numpy as np
import ray
from encoder import MAX_BATCH, NUM_CPUS, Encoder

SIZE = 32


class Tokenize:
    def __init__(self) -> None:
        self.encoder = Encoder(num_threads=1)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tokens = self.encoder(batch["image"]).astype(np.uint16)
        return {"path": batch["path"], "tokens": tokens.reshape(len(tokens), -1)}


if __name__ == "__main__":
    folder, out = sys.argv[1:]
    ray.init(num_cpus=NUM_CPUS, include_dashboard=False, log_to_driver=False)
    images = ray.data.read_images(folder, size=(SIZE, SIZE), mode="RGB", include_paths=True)
    images.map_batches(
        Tokenize,
        batch_size=MAX_BATCH,
        # A CPU is left for reading.
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=NUM_CPUS),
        num_cpus=1,
    ).write_parquet(out)
