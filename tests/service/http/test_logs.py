"""The log: text to read, or one object a line, whoever writes it."""

import json
import logging
import sys
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from kohonen_tokenizer.service.http.logs import JsonFormatter


def record(message, *args, fields=None, exc_info=None):
    made = logging.LogRecord("some.logger", logging.WARNING, "file.py", 1, message, args, exc_info)
    if fields is not None:
        made.fields = fields
    return made


def test_a_line_has_time_level_logger_message_and_fields():
    line = JsonFormatter().format(record("%d of %s", 1, "x", fields={"request_id": "r", "status": 200}))
    entry = json.loads(line)
    time = datetime.fromisoformat(entry.pop("time"))
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
    assert time.utcoffset() == timedelta(0)
    assert entry == {
        "level": "warning",
        "logger": "some.logger",
        "message": "1 of x",
        "request_id": "r",
        "status": 200,
    }


def test_a_traceback_is_one_field():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        line = JsonFormatter().format(record("failed", exc_info=sys.exc_info()))
    assert "\n" not in line
    exception = json.loads(line)["exception"]
    assert exception.startswith("Traceback (most recent call last):\n")
    assert exception.endswith("ValueError: two\nlines")


@pytest.mark.parametrize("name", ["a\nb", "\udcff", 'quote"'])
def test_what_a_file_may_be_called_can_be_logged(name):
    entry = json.loads(JsonFormatter().format(record("no file %s", name)))
    assert entry["message"] == "no file " + name.replace("\udcff", "\\udcff")


@pytest.fixture(scope="module")
def json_server(start_server, tiny_bundle):
    return start_server(tiny_bundle, log_format="json")


def entries(server):
    """All lines of the log so far; the last may be half written."""
    return [json.loads(line) for line in server.log.splitlines(keepends=True) if line.endswith("\n")]


def access(server, request_id):
    return [entry for entry in entries(server) if entry.get("request_id") == request_id]


def test_every_request_is_an_entry(json_server, wait_until):
    httpx.get(f"{json_server.url}/codebook", headers={"X-Request-Id": "good"})
    httpx.get(f"{json_server.url}/nothing", headers={"X-Request-Id": "bad"})
    wait_until(lambda: access(json_server, "good") and access(json_server, "bad"))
    (good,), (bad,) = access(json_server, "good"), access(json_server, "bad")
    assert (good["level"], good["method"], good["path"]) == ("info", "GET", "/codebook")
    assert (good["status"], good["model"], good["client"]) == (200, "tiny-colors", "127.0.0.1")
    assert good["seconds"] > 0
    assert "error_code" not in good
    assert (bad["status"], bad["error_code"]) == (404, "not_found")
    assert "model" not in bad
    for entry in (good, bad):
        assert entry["logger"] == "kohonen_tokenizer.service.http.exchange"


def test_the_start_is_told_in_the_same_format(json_server):
    assert any("serving" in entry["message"] for entry in entries(json_server))
