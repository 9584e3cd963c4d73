"""From settings to models in memory: at the start, and again for a version that replaces another."""

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial

from ..errors import BundleError, LoadError, TokenizerError
from ..runtime.catalog import Catalog
from ..runtime.tokenizer import Tokenizer
from .body_threads import BodyThreads
from .loads import LoadReport, Loads
from .models import LoadedModel, Models, ServedModel
from .settings import Settings

logger = logging.getLogger(__name__)

WarmUp = Callable[[LoadedModel], Awaitable[ServedModel]]


def catalog_of(settings: Settings) -> Catalog:
    """The bundles that `settings` name."""
    return Catalog(bundle=settings.bundle, models=settings.models)


def load_models(settings: Settings, *, versions: Mapping[str, str] | None = None) -> list[LoadedModel]:
    """The models that `settings` name, each verified and with running graphs.

    Args:
        settings: say where the bundles are, and what runs them.
        versions: by name, which version; without it, of each name the highest one there is.

    Raises:
        BundleError: a bundle is not there, is not what its manifest says, or does not run.
        DeviceError: the device does not work here.
    """
    if versions is None:
        versions = {name: there[-1] for name, there in catalog_of(settings).versions().items()}
    return [_load_or_tell_others(settings, name=name, version=version) for name, version in versions.items()]


def _load_or_tell_others(settings: Settings, *, name: str, version: str) -> LoadedModel:
    try:
        return load_version(settings, name=name, version=version)
    except BundleError as error:
        others = [other for other in catalog_of(settings).versions().get(name, []) if other != version]
        if not others:
            raise
        raise type(error)(
            f"{error}; or remove or rename the folder {name}/{version}, and the highest of the other "
            f"versions of {name} is served: {', '.join(others[-10:])}"
        ) from None


def load_sound_models(settings: Settings, *, versions: Mapping[str, str]) -> list[LoadedModel]:
    """Those of `versions`, by name, that can be served; the others are logged.

    For a process that is started again: one bundle that is gone must not take the others with it.

    Raises:
        BundleError: there is none.
        DeviceError: the device does not work here.
    """
    models = []
    for name, version in versions.items():
        try:
            models.append(load_version(settings, name=name, version=version))
        except BundleError as error:
            logger.warning(
                "model %s version %s is served no longer by this process: %s", name, version, error
            )
            failure = error
    if not models:
        raise failure
    return models


def load_version(settings: Settings, *, name: str, version: str) -> LoadedModel:
    """One version of one model.

    Raises:
        BundleError: there is none, or it cannot be served.
        DeviceError: the device does not work here.
    """
    catalog = catalog_of(settings)
    _, path = catalog.find(name, version=version)
    tokenizer = Tokenizer.load(
        path, device=settings.device, num_threads=settings.num_threads, backend=settings.backend
    )
    # A bundle that was exchanged meanwhile would be served under the version of another.
    catalog.find(name, version=version)
    return LoadedModel(name=name, version=version, tokenizer=tokenizer)


class ModelLoads(Loads):
    """Loads versions into this process.

    In two steps, for a supervisor: what is prepared is not served before `put`.
    """

    def __init__(self, settings: Settings, *, models: Models, thread: BodyThreads, warm_up: WarmUp) -> None:
        """Take the models that are served, a thread to read bundles in, and what makes a model ready."""
        super().__init__(catalog_of(settings))
        self._settings = settings
        self._models = models
        self._thread = thread
        self._warm_up = warm_up

    def served(self) -> dict[str, str]:
        """By name, the version that is served."""
        return {model.name: model.version for model in self._models}

    def missing(self) -> Collection[str]:
        """The names of those that should be served and cannot be."""
        return self._models.missing

    async def prepare(self, name: str, *, version: str) -> ServedModel:
        """`version` of `name`, warm and checked.

        Raises:
            LoadError: it is no sound bundle, or does not run, or fails its self-check.
        """
        try:
            read = partial(load_version, self._settings, name=name, version=version)
            return await self._warm_up(await self._thread.run(read))
        except TokenizerError as error:
            raise LoadError(str(error)) from error
        except Exception as error:
            logger.exception("model %s version %s failed its warm-up", name, version)
            raise LoadError(f"version {version} of {name} failed its warm-up: {error!r}") from error

    async def _replace(self, name: str, *, version: str) -> LoadReport:
        started = time.monotonic()
        previous = self.served().get(name)
        model = await self.prepare(name, version=version)
        self._models.put(model)
        return LoadReport(
            model=name,
            version=version,
            previous_version=previous,
            codebook_hash=model.identity["codebook_hash"],
            seconds=[round(time.monotonic() - started, 3)],
        )
