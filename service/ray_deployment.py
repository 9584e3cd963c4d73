"""The service on a cluster: replicas of the app under Ray Serve, more of them as their queues grow.

    KOHONEN_BUNDLE=/shared/my-bundle serve run kohonen_tokenizer.service.ray_deployment:app
    serve run kohonen_tokenizer.service.ray_deployment:app models=/shared/models device=cuda min_replicas=2

or, in Python, `serve.run(app({"bundle": "/shared/my-bundle", "max_replicas": 4}))`. Needs the extra `ray`.

Ray scales on the requests of a replica that run or wait. That is our queue, for a replica lets all of them in
and they wait in its batcher; but it counts requests and not images, for to count these takes a custom policy,
which Ray calls alpha. Clients that send many images a request want a lower `target_ongoing_requests`.

What differs from `kohonen-tokenizer serve`:

- Ray listens, where its own options say (`host` and `port` mean nothing), and adds processes: `workers` above
  1 is refused.
- Ray must know before a replica starts whether it needs a GPU: it has one where `device` names one; `auto` is
  the CPU. Of CPUs it uses as many as Ray gives it: one, unless the deployment's options say more.
- What is served is fixed when the application is deployed: replicas that start later serve the same versions.
  POST /models/{name}/load would reach one replica of several, so it is refused; deploy again instead.
- /metrics, /readyz and /profile show the replica that happens to answer. Ray has metrics of all of them.
- A request whose replica dies under it gets Ray's own error, not our JSON. It is safe to send it again.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import LoggingConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import LoadError, SettingsError
from .http.app import create_app
from .http.exchange import REQUEST_ID_HEADER
from .http.loading import catalog_of, load_models
from .http.loads import LoadReport
from .http.logs import configure_logging
from .http.server import log_models
from .http.service import Service
from .http.settings import Settings
from .http.settings_sources import read_settings
from .runtime.threads import available_threads, share_cpus

logger = logging.getLogger(__name__)

_AUTOSCALING = {"min_replicas": 1, "max_replicas": 8, "target_ongoing_requests": 16}
# What Ray itself does around the drain takes time too, before it kills a replica.
_AROUND_DRAIN_S = 5.0


def app(args: Mapping[str, Any]) -> serve.Application:
    """The application to deploy.

    Args:
        args: by name, settings of the service, which go before the environment and the file that
            KOHONEN_CONFIG names; and fields of Ray's AutoscalingConfig.

    Raises:
        SettingsError: an unknown name, a value outside its limits, or several workers.
        BundleError: a bundle is not there. Its path must be the same on every machine of the cluster.
    """
    autoscaling = {name: value for name, value in args.items() if name in AutoscalingConfig.model_fields}
    settings = read_settings({name: value for name, value in args.items() if name not in autoscaling})
    if settings.workers > 1:
        raise SettingsError(
            f"workers is {settings.workers}, and under Ray the limit is 1; set min_replicas and max_replicas"
        )
    paths = {name: path.absolute() for name in ("bundle", "models") if (path := getattr(settings, name))}
    settings = settings.model_copy(update=paths)
    versions = {name: there[-1] for name, there in catalog_of(settings).versions().items()}
    return deployment_of(settings, autoscaling=autoscaling).bind(settings, versions=versions)


def deployment_of(settings: Settings, *, autoscaling: Mapping[str, Any]) -> serve.Deployment:
    """How Ray is to run replicas with these settings; `autoscaling` as in AutoscalingConfig."""
    return serve.deployment(
        name="tokenizer",
        autoscaling_config=AutoscalingConfig.model_validate(_AUTOSCALING | dict(autoscaling)),
        ray_actor_options={"num_cpus": 1, "num_gpus": 0 if settings.device in ("auto", "cpu") else 1},
        # More than a replica lets in: the rest gets our 429, with its Retry-After, and no place in a queue of
        # Ray's, which has no bound and knows no deadlines.
        max_ongoing_requests=2 * settings.max_pending_requests,
        health_check_period_s=settings.canary_interval_s,
        health_check_timeout_s=settings.canary_timeout_s,
        graceful_shutdown_timeout_s=settings.drain_timeout_s + _AROUND_DRAIN_S,
        # There is one of ours.
        logging_config=LoggingConfig(enable_access_log=False),
    )(Replica)


class NoLoads:
    """Stands in for what loads versions, where that would reach one replica of several."""

    async def load(self, name: str, *, version: str | None) -> LoadReport:
        """Refuse.

        Raises:
            LoadError: always.
        """
        raise LoadError(f"{name[:50]} is served by replicas under Ray; deploy the application again instead")


@serve.ingress()
class Replica:
    """One process that serves: the app around models of its own, loaded where it runs."""

    def __init__(self, settings: Settings, *, versions: Mapping[str, str]) -> None:
        """Load `versions`, by name, of the models."""
        configure_logging(settings.log_level, log_format=settings.log_format)
        if settings.device == "auto":
            settings = settings.model_copy(update={"device": "cpu"})
            logger.info("device auto: cpu, because Ray gives a GPU only where device names one")
        resources = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
        share_cpus(max(1, int(available_threads() / (resources.get("CPU") or 1))))
        models = load_models(settings, versions=versions)
        self._service = Service(settings, models=models)
        self._service.loader = NoLoads()
        self._was_ready = False
        log_models(models, where=f"replica {serve.get_replica_context().replica_id.unique_id}")

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """What Ray sends requests to."""
        return _without_request_id(create_app(self._service))

    async def check_health(self) -> None:
        """Return if the replica may have requests; Ray replaces one that fails this three times in a row.

        Raises:
            NotReadyError: see `Service.require_ready`.
        """
        # The first time Ray waits for the answer, and takes a no for a start that failed.
        while not self._was_ready and not self._service.is_broken:
            self._was_ready = self._service.is_ready
            await asyncio.sleep(0.05)
        self._service.require_ready()


def _without_request_id(app: ASGIApp) -> ASGIApp:
    # Ray gives each request its id before we see it, and adds it to the reply as we do.
    name = REQUEST_ID_HEADER.lower().encode()

    async def with_one_id(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [header for header in message["headers"] if header[0] != name]
            await send(message)

        await app(scope, receive, send_without)

    return with_one_id
