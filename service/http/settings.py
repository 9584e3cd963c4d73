"""The service's settings: every name, bound and unit in one place."""

from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from kohonen_tokenizer.install_command import install_command

from ..errors import SettingsError
from ..runtime.devices import DeviceChoice
from ..runtime.manifest import GraphFormat
from .auth import ApiKey

ENV_PREFIX = "KOHONEN_"

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
# Browsers send scheme and host in lower case, and the two are compared as texts.
Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[^/\s]+)$", max_length=256, to_lower=True)]


class Settings(BaseSettings):
    """What an operator may choose; `settings_sources` reads it from flags, the environment and a file."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, enable_decoding=False, extra="forbid", frozen=True
    )

    bundle: Path | None = Field(
        default=None,
        description="The bundle to serve: a folder, or a .zip of the same files; empty for none, where an "
        "image has one.",
    )
    models: Path | None = Field(
        default=None,
        description="Instead of `bundle`: a folder of bundles as name/version/, where a version is a whole "
        "number; of each name the highest version is served.",
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; 0.0.0.0 opens the service to the network.",
    )
    port: int = Field(default=8000, ge=1, le=65535, description="TCP port to listen on.")
    device: DeviceChoice = Field(
        default="auto",
        description="Where the model runs. auto takes cuda where it works, else the CPU, and logs why; a "
        "device that is named fails at start-up where it does not work, and never falls back.",
    )
    backend: GraphFormat = Field(
        default="onnx",
        description="Which graphs of the bundle run: onnx by onnxruntime, or torchscript or torch_export by "
        "torch, which needs the extra torch and bundles that are trusted, for they can hold code.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Processes that serve the port together. Each takes a GPU of its own in turn, or its "
        "share of the CPUs; one that dies or hangs is started again.",
    )
    worker_timeout_s: float = Field(
        default=30.0,
        ge=2.0,
        le=3600.0,
        description="Seconds without a sign of life after which one of several workers is killed and started "
        "again.",
    )
    num_threads: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Threads of one model run on the CPU. Runs go side by side while CPUs are left, which "
        "does more work than threads do within a run; more threads make a lone request faster.",
    )
    num_parallel_runs: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Runs of one model at once. Unset, what the device gains from: on the CPU as many as "
        "this process may use CPUs, by `num_threads`.",
    )
    num_body_threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Threads that read bodies and write replies, one request each; further work waits. "
        "Unset, as many as this process may use CPUs.",
    )
    max_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="Images of one model run. Unset, what the device gains from.",
    )
    max_wait_ms: float = Field(
        default=0.0,
        ge=0.0,
        le=10_000.0,
        description="Milliseconds that an idle model waits for a batch to fill; 0 starts at once. Batches "
        "grow by themselves while the model is busy.",
    )
    max_queue_images: int = Field(
        default=4096,
        ge=1,
        le=2**20,
        description="Images and token grids of all requests that may wait for one model; more get a 429. At "
        "least `max_images`.",
    )
    timeout_s: float = Field(
        default=30.0,
        gt=0.0,
        le=3600.0,
        description="Seconds from a request's headers in which its result must be there, else it gets a 504. "
        "A request may ask for fewer in the header X-Timeout-S.",
    )
    max_body_bytes: int = Field(
        default=32 * 1024**2,
        ge=1024,
        le=1024**3,
        description="Bytes of one request body; a longer one is refused as soon as that is known. Bodies of "
        "tokens may have as many as the other limits need.",
    )
    max_pending_bytes: int = Field(
        default=512 * 1024**2,
        ge=1024,
        le=2**40,
        description="Bytes of all bodies in memory at once; a request whose body would pass it gets a 429. "
        "At least `max_body_bytes`.",
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
    max_table_values: int = Field(
        default=2**22,
        ge=1,
        le=2**30,
        description="Values of one tensor in a reply of /neighbors/table or /soft-targets, rows x columns.",
    )
    max_table_pairs: int = Field(
        default=2**26,
        ge=1,
        le=2**40,
        description="Pairs of codes that one /neighbors/table compares for `by=codebook`: codes x codes.",
    )
    max_pending_requests: int = Field(
        default=1024,
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
    canary_interval_s: float = Field(
        default=2.0,
        gt=0.0,
        le=3600.0,
        description="Seconds without a successful run after which the model is tried on an image of its own.",
    )
    canary_timeout_s: float = Field(
        default=10.0,
        gt=0.0,
        le=3600.0,
        description="Seconds without a successful run after which the service is not ready. More than "
        "`canary_interval_s`.",
    )
    log_level: LogLevel = Field(default="info", description="Least severity that is logged, to stderr.")
    log_format: LogFormat = Field(
        default="text",
        description="How a line of the log is written: text to read, or json, an object a line.",
    )
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s@]+(/\S*)?$",
        max_length=2048,
        description="Where OpenTelemetry traces go by OTLP over HTTP, such as http://localhost:4318, to "
        "which /v1/traces is added; unset, nothing is traced. Needs the extra otel.",
    )
    cors_origins: tuple[Origin, ...] = Field(
        default=(),
        max_length=256,
        description="Origins, such as https://example.org, whose web pages may call the service from a "
        "browser; * allows all. Without any, none may.",
    )
    api_keys: tuple[ApiKey, ...] = Field(
        default=(),
        max_length=4096,
        # Not shown in errors: somebody will write a key where its hash belongs.
        repr=False,
        description="Keys of clients, as kohonen-tokenizer new-key makes them: objects of name, sha256 and "
        "scopes (use, admin). Without any, whoever reaches the service may use it, and nobody is its admin.",
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _has_its_extra(cls, endpoint: str | None) -> str | None:
        if endpoint is not None:
            try:
                metadata.version("opentelemetry-exporter-otlp-proto-http")
            except metadata.PackageNotFoundError as error:
                raise ValueError(
                    f"it needs {error.name}, which is not installed; run: {install_command('otel')}"
                ) from None
        return endpoint

    @field_validator("bundle", mode="before")
    @classmethod
    def _may_be_taken_back(cls, bundle: object) -> object:
        return None if bundle == "" else bundle

    @field_validator("api_keys")
    @classmethod
    def _have_names_of_their_own(cls, keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        if len({key.name for key in keys}) < len(keys):
            raise ValueError("two keys have one name; give each its own")
        return keys

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.bundle is not None and self.models is not None:
            raise ValueError("bundle and models are both set; give one of them, or an empty bundle")
        for smaller, larger in (
            ("max_images", "max_queue_images"),
            ("max_body_bytes", "max_pending_bytes"),
            ("canary_interval_s", "canary_timeout_s"),
        ):
            low, high = getattr(self, smaller), getattr(self, larger)
            if low > high:
                raise ValueError(
                    f"{smaller} {low} is above {larger} {high}; lower the one or raise the other"
                )
        return self

    def require_models(self) -> None:
        """Return if there is something to serve: settings can be looked at before.

        Raises:
            SettingsError: neither `bundle` nor `models` is set.
        """
        if self.bundle is None and self.models is None:
            raise SettingsError(
                "there is nothing to serve; give --bundle or set KOHONEN_BUNDLE (or --models, KOHONEN_MODELS)"
            )

    @property
    def base_url(self) -> str:
        """Where a client on this machine reaches the service."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the arguments alone: `settings_sources` combines the sources and knows which gave what."""
        return (init_settings,)
