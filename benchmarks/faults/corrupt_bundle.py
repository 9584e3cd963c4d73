"""A new version of the model is put beside the old one, with one byte changed, and loaded under load."""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

from .load import bodies, load
from .outcome import Outcome
from .server import BUNDLE, serving, wait_until

_FILES = ("encoder.onnx", "codebook.safetensors", "manifest.json")


def measure() -> Outcome:
    """Load broken versions, and at last a sound one."""
    images = bodies()
    with tempfile.TemporaryDirectory() as folder:
        versions = Path(folder, "tokens")
        shutil.copytree(BUNDLE, versions / "1")
        with serving("--models", folder) as server, load(server, images) as record:
            time.sleep(1.0)
            refused = 0
            for number, file in enumerate(_FILES, start=2):
                _copy_damaged(versions / str(number), file=file)
                os.kill(server.pid, signal.SIGHUP)
                wait_until(lambda number=number: server.log.read_text().count("stays as it is") == number - 1)
                refused += b'"version":"1"' in server.get("/models")[1]
            shutil.copytree(BUNDLE, versions / "9")
            os.kill(server.pid, signal.SIGHUP)
            loaded_s = wait_until(lambda: b'"version":"9"' in server.get("/models")[1])
            time.sleep(1.0)
            unready = server.get("/readyz")[0] != 200
    return Outcome(
        fault="versions with one byte changed in a graph, the codebook or the manifest loaded by SIGHUP",
        figures={
            "broken versions refused": f"{refused} of {len(_FILES)}",
            "requests failed": record.num_failed,
            "a sound version served after": f"{loaded_s:.1f} s",
            "p99": f"{record.p99_ms} ms",
        },
        promises={
            "the old version goes on": refused == len(_FILES),
            "no request fails": record.num_failed == 0,
            "the service is ready": not unready,
        },
        requests=dict(record.statuses),
    )


def _copy_damaged(folder: Path, *, file: str) -> None:
    shutil.copytree(BUNDLE, folder)
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (folder / file).write_bytes(content)
