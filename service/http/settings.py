"""The service's settings: every name, bound and unit in one place."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ..errors import SettingsError

ENV_PREFIX = "KOHONEN_"

LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(BaseSettings):
    """What an operator may choose; a setting `x` is the environment variable KOHONEN_X."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    bundle: Path = Field(description="The bundle to serve: a folder, or a .zip of the same files.")
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; 0.0.0.0 opens the service to the network.",
    )
    port: int = Field(default=8000, ge=1, le=65535, description="TCP port to listen on.")
    device: Literal["cpu", "cuda"] = Field(
        default="cpu",
        description="Where the model runs; cuda fails at start-up where it cannot, and never falls back.",
    )
    num_threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Threads of one model run on the CPU; unset, as many as this process may use.",
    )
    num_workers: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Threads that read images, run the model and write replies, one request each; further "
        "work waits. Unset, as many as this process may use CPUs.",
    )
    max_body_bytes: int = Field(
        default=32 * 1024**2,
        ge=1024,
        le=1024**3,
        description="Bytes of one request body; a longer one is refused as soon as that is known. Bodies of "
        "tokens may have as many as the other limits need. At most `max_pending_requests` bodies are in "
        "memory.",
    )
    body_timeout_s: int = Field(
        default=60,
        ge=1,
        le=3600,
        description="Seconds in which a request's body must be complete; a slower one gets a 408.",
    )
    max_images: int = Field(
        default=256, ge=1, le=65536, description="Images, or token grids, of one request."
    )
    max_image_pixels: int = Field(
        default=4096 * 4096,
        ge=1,
        le=2**28,
        description="Pixels (height x width) of one image as sent, read from its header before decoding.",
    )
    max_request_pixels: int = Field(
        default=4 * 4096 * 4096,
        ge=1,
        le=2**34,
        description="Pixels of all images of one request as sent.",
    )
    max_neighbor_tokens: int = Field(
        default=64, ge=1, le=65536, description="Tokens whose neighbors one request may ask for."
    )
    max_neighbors: int = Field(
        default=65536, ge=1, le=2**24, description="Neighbors in one reply, of all its tokens together."
    )
    max_pending_requests: int = Field(
        default=64,
        ge=1,
        le=65536,
        description="Requests in work at once, bodies under way included; the next one gets a 429.",
    )
    drain_timeout_s: int = Field(
        default=10,
        ge=1,
        le=3600,
        description="Seconds that requests in work get to finish after SIGTERM.",
    )
    log_level: LogLevel = Field(default="info", description="Least severity that is logged, to stderr.")

    @property
    def base_url(self) -> str:
        """Where a client on this machine reaches the service."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def read_settings(overrides: Mapping[str, object]) -> Settings:
    """Settings from `overrides` (by field name), then from the environment, then the defaults.

    Raises:
        SettingsError: a KOHONEN_ variable that names no setting, or a value outside its limits.
    """
    _refuse_unknown_variables()
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        value = "" if first["type"] == "missing" else f" is {first['input']!r}"
        raise SettingsError(f"setting {name} ({ENV_PREFIX}{name.upper()}){value}: {first['msg']}") from None


def _refuse_unknown_variables() -> None:
    # `extra="forbid"` does not look at the environment: a misspelt limit would silently not apply.
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known:
            raise SettingsError(
                f"{name} in the environment is no setting; unset it, or use one of {', '.join(sorted(known))}"
            )
