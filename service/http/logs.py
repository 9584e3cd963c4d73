"""The log on stderr: lines of text to read, or of JSON for a machine."""

import logging
import logging.config
from datetime import UTC, datetime
from typing import Any

import orjson

from .settings import LogFormat, LogLevel

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, and what `extra={"fields": ...}` has.

    A traceback is the field `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            # A file's name may hold what is no Unicode, which JSON cannot.
            "message": record.getMessage().encode("utf-8", "backslashreplace").decode(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def configure_logging(level: LogLevel, *, log_format: LogFormat) -> None:
    """Send this package's lines from `level` on to stderr, and others' and warnings from WARNING on."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"text": {"format": TEXT_FORMAT}, "json": {"()": JsonFormatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": log_format}},
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {
                "kohonen_tokenizer": {"level": level.upper()},
                # Its warnings only repeat what the client is told in a 400.
                "python_multipart": {"level": "ERROR"},
            },
        }
    )
    logging.captureWarnings(True)
