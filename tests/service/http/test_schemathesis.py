"""The OpenAPI document holds: whatever schemathesis makes of it gets a documented answer, and meets no bug.

It makes parameters and bodies that fit the document, and some that miss it by little, and checks the status,
type, headers and schema of each answer against the document: schemathesis.toml and fuzzing.py say how.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from kohonen_tokenizer.service.http.auth import make_key

CONFIG = Path(__file__).with_name("schemathesis.toml")
# Set by `make fuzz-api`: as many examples a call, other ones each time.
NUM_FUZZ_EXAMPLES = os.environ.get("FUZZ_EXAMPLES")


@pytest.fixture(scope="module")
def key():
    """The secret of a key that may do everything, and its entry."""
    return make_key("fuzz", scopes=("use", "admin"))


@pytest.fixture(scope="module")
def narrow(start_server, tiny_bundle, key):
    """A server with keys, limits that are soon passed, and one place for a request in work."""
    server = start_server(
        tiny_bundle,
        api_keys=json.dumps([key[1].model_dump()]),
        max_images=8,
        max_image_pixels=4096,
        max_pending_requests=1,
    )
    yield server
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="module")
def document(narrow, key, tmp_path_factory) -> Path:
    """The OpenAPI document of the server."""
    file = tmp_path_factory.mktemp("document") / "openapi.json"
    file.write_bytes(httpx.get(f"{narrow.url}/openapi.json", headers={"X-API-Key": key[0]}).content)
    return file


@pytest.fixture
def run_schemathesis(narrow, document, key, tmp_path) -> Callable[..., list[int]]:
    """Have schemathesis test the server and give the status of each answer: run_schemathesis("--seed=1")."""

    def run(*options: str) -> list[int]:
        events = tmp_path / "events.ndjson"
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
            *("run", str(document), "--url", narrow.url, "--header", f"Authorization: Bearer {key[0]}"),
            *("--no-color", "--output-sanitize", "false"),
            *("--report", "ndjson", "--report-ndjson-path", str(events)),
            *options,
        ]
        # The order of sets is in what is generated.
        environment = {**os.environ, "PYTHONHASHSEED": "0", "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)}
        done = subprocess.run(
            command, cwd=CONFIG.parent, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
        print(done.stdout)
        return [status for line in events.read_text().splitlines() for status in statuses(json.loads(line))]

    return run


def statuses(event: object) -> Iterator[int]:
    """The statuses of all answers in one event of schemathesis's report."""
    if isinstance(event, dict):
        for name, value in event.items():
            if name == "status_code":
                yield value
            else:
                yield from statuses(value)
    elif isinstance(event, list):
        for value in event:
            yield from statuses(value)


def test_every_answer_is_documented(run_schemathesis):
    how = ["--generation-deterministic", "--max-examples", "10"]
    if NUM_FUZZ_EXAMPLES is not None:
        how = ["--max-examples", NUM_FUZZ_EXAMPLES]
    found = run_schemathesis(*how)
    # The limits were met, and what lies behind them was reached.
    assert {200, 304, 400, 401, 404, 405, 406, 413, 415, 422} <= set(found)


def test_so_is_every_answer_of_a_service_without_a_place(run_schemathesis, narrow, key):
    address = urlsplit(narrow.url)
    with socket.create_connection((address.hostname, address.port)) as slow:
        slow.sendall(
            f"POST /decode HTTP/1.1\r\nHost: {address.netloc}\r\nX-API-Key: {key[0]}\r\n"
            "Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{".encode()
        )
        found = run_schemathesis("--phases", "examples", "--exclude-checks", "EveryCallSucceeds")
    assert 429 in found
