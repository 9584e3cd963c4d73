"""Logging of the server process: one format, to stderr."""

import logging.config

from .settings import LogLevel

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure_logging(level: LogLevel) -> None:
    """Send this package's lines from `level` on to stderr, and other packages' from WARNING on."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": FORMAT}},
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "formatter": "line",
                    "stream": "ext://sys.stderr",
                }
            },
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {
                "kohonen_tokenizer": {"level": level.upper()},
                # Its warnings only repeat what the client is told in a 400.
                "python_multipart": {"level": "ERROR"},
            },
        }
    )
