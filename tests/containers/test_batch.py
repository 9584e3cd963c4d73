"""The profile batch: a folder of images becomes a dataset of tokens, and a full disk is no end of it.

make test-containers runs it: it builds an image, and needs a container engine.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kohonen_tokenizer import Tokenizer

from .stack import COMPOSE, ENGINE, IMAGE, PROJECT, ROOT, run

pytestmark = pytest.mark.containers

BUNDLE = ROOT / "bundles" / "cifar10-ksom-512"
NUM_IMAGES, ROWS_PER_SHARD = 200, 4
NUM_SHARDS = NUM_IMAGES // ROWS_PER_SHARD
# Of a disk of 1 MiB it leaves room for some shards: each takes 8 KiB there with its record.
FILL = "open('/disk/filler', 'wb').write(bytes(900_000))"


@pytest.fixture
def images() -> np.ndarray:
    """[200, 32, 32, 3] of noise."""
    return np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def source(images: np.ndarray, tmp_path: Path) -> Path:
    """A folder of them, as PNG files, that any user may read."""
    folder = tmp_path / "source"
    folder.mkdir()
    folder.chmod(0o755)
    for number, image in enumerate(images):
        path = folder / f"{number:04d}.png"
        Image.fromarray(image).save(path)
        path.chmod(0o644)
    return folder


def test_profile_makes_a_dataset_of_a_folder(
    batch_image: str, source: Path, images: np.ndarray, tmp_path: Path
) -> None:
    # Whoever runs the tests, or the image's user where that is root.
    user = os.getuid() or 10001
    dest = tmp_path / "tokens"
    dest.mkdir()
    os.chown(dest, user, -1)
    environment = {
        # Not the project of the services, whose tests may be under way.
        "COMPOSE_PROJECT_NAME": f"{PROJECT}-batch",
        "TOKENIZER_IMAGE": IMAGE,
        "SOURCE": str(source),
        "DEST": str(dest),
        "BATCH_USER": f"{user}:{user}",
        "BATCH_CPUS": "1",
        "BATCH_MEMORY": "1g",
    }
    profile = [*COMPOSE, "--profile", "batch"]
    job = [*profile, "run", "--rm", "-T", "encode-job"]
    try:
        run(*job, environment=environment)
        verified = run(*job, "verify", "/dest", environment=environment)
    finally:
        run(*profile, "down", environment=environment)
    assert f"{NUM_IMAGES} images, 0 of them failed: all is as /dest/_manifest.json says" in verified
    rows = pq.read_table(dest).to_pylist()
    assert [row["id"] for row in rows] == [f"{number:04d}.png" for number in range(NUM_IMAGES)]
    tokens = np.array([row["tokens"] for row in rows]).reshape(NUM_IMAGES, 8, 8)
    np.testing.assert_array_equal(tokens, Tokenizer.load(BUNDLE, device="cpu").encode(images))
    assert {path.stat().st_uid for path in dest.rglob("*")} == {user}


def test_full_disk_ends_the_job_in_a_line_and_room_carries_it_on(batch_image: str, source: Path) -> None:
    # As the compose file has it, but for a disk that is small and outlives the job.
    options = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"]
    options += ["--network", "none", "--memory", "1g", "--pids-limit", "512"]
    options += ["--tmpfs", "/tmp:size=64m,mode=1777", "--tmpfs", "/disk:size=1m,mode=1777"]
    options += ["--volume", f"{source}:/source:ro", "--entrypoint", "sleep"]
    container = run(*ENGINE, "run", "--detach", *options, batch_image, "infinity").strip()
    inside = [*ENGINE, "exec", container]
    job = [*inside, "kohonen-tokenizer", "encode", "/source", "/disk/tokens", "--json"]
    job += ["--rows-per-shard", str(ROWS_PER_SHARD), "--workers", "2"]
    try:
        run(*inside, "python", "-c", FILL)
        stopped = subprocess.run(job, capture_output=True, text=True, check=False)
        assert (stopped.returncode, stopped.stdout) == (2, ""), stopped.stderr
        assert re.search(
            r"error: /disk/tokens/(_job/)?\d+\.(parquet|json): No space left on device; "
            r"mend that, and the same command carries on\n$",
            stopped.stderr,
        ), stopped.stderr
        assert "Traceback" not in stopped.stderr
        kept = run(*inside, "find", "/disk/tokens/_job", "-name", "[0-9]*.json").split()
        assert 0 < len(kept) < NUM_SHARDS
        run(*inside, "rm", "/disk/filler")
        carried_on = json.loads(run(*job))
        print(f"\na full disk after {len(kept)} of {NUM_SHARDS} shards, then room: {carried_on}")
        assert carried_on["num_shards_this_run"] == NUM_SHARDS - len(kept)
        assert (carried_on["num_images"], carried_on["num_failed"]) == (NUM_IMAGES, 0)
        run(*inside, "kohonen-tokenizer", "verify", "/disk/tokens")
    finally:
        run(*ENGINE, "rm", "--force", container)
