"""The machine and the versions that a result belongs to, and the file where it goes."""

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from kohonen_tokenizer.atomic_file import write_atomically
from kohonen_tokenizer.service.runtime.threads import available_threads

RESULTS = Path(__file__).parent / "results"

_OURS = (
    "kohonen-tokenizer",
    "numpy",
    "onnxruntime-gpu",
    "onnxruntime",
    "pyarrow",
    "ray",
    "simplejpeg",
    "uvicorn",
    "uvloop",
)
_PEERS = ("fastapi", "litserve", "mosec", "ray", "bentoml", "onnxruntime-gpu", "onnxruntime", "uvicorn")


def describe_machine() -> dict[str, Any]:
    """The device, what else it was doing in the minutes before, the date, and this environment's versions."""
    return {
        "device": device_name(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
        "versions": versions_of(_OURS, path=sys.path),
    }


def device_name() -> str:
    """The processor and how many of its threads this process may use."""
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    return f"{names[0] if names else platform.machine()}, {available_threads()} threads"


def peer_versions(venv: Path) -> dict[str, str]:
    """The versions of the peers in their environment `venv`."""
    return versions_of(_PEERS, path=[str(folder) for folder in venv.glob("lib/python*/site-packages")])


def versions_of(names: Iterable[str], *, path: list[str]) -> dict[str, str]:
    """Those of the packages `names` that are installed on `path`."""
    found = importlib.metadata.distributions(path=path)
    installed = {distribution.name.lower(): distribution.version for distribution in found}
    return {name: installed[name] for name in names if name in installed}


def write_result(
    benchmark: str, content: object, *, device: str | None = None, report: str | None = None
) -> Path:
    """Write `content` as JSON, and a report beside it; their names say `device`, or else this processor."""
    name = re.sub(r"[^a-z0-9]+", "-", (device or device_name()).lower()).strip("-")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{benchmark}-{name}.json"
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
    write_atomically(path, orjson.dumps(content, option=options))
    if report is not None:
        write_atomically(path.with_suffix(".md"), f"{report}\n".encode())
    return path
