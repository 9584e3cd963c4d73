"""Changing the version of a model while it is served: one load at a time, on every process or on none."""

import asyncio
import logging
import signal
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..errors import BundleError, LoadBusyError, LoadError
from ..runtime.catalog import Catalog

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """A load that went well."""

    model: str
    version: str
    previous_version: str | None
    """What the name had before; None for a name that is new."""
    codebook_hash: str
    seconds: list[float]
    """What reading, warming up and checking took, for each worker."""


class Loader(Protocol):
    """Loads versions for whoever asks, wherever that is done."""

    async def load(self, name: str, *, version: str | None) -> LoadReport:
        """Serve `version` of the model `name`, or the highest that is there, in place of the present one.

        Raises:
            LoadError: it cannot be served; the old version goes on.
            LoadBusyError: another load is under way, or a worker is not up.
        """


class Loads(ABC):
    """Loads versions into one process or several, which a subclass knows how to reach."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._one_at_a_time = asyncio.Lock()

    @abstractmethod
    def served(self) -> Mapping[str, str]:
        """By name, the version that is served."""

    @abstractmethod
    def missing(self) -> Collection[str]:
        """The names of those that a process should serve and cannot."""

    @abstractmethod
    async def _replace(self, name: str, *, version: str) -> LoadReport:
        """Load `version` of `name`, which is in the catalog, and serve it.

        Raises:
            LoadError, LoadBusyError: as in `Loader.load`.
        """

    async def available(self) -> dict[str, list[str]]:
        """By name, the versions that could be loaded, lowest first; none if the bundles are gone."""
        try:
            return await asyncio.to_thread(self._catalog.versions)
        except BundleError as error:
            logger.warning("no version is there to be loaded: %s", error)
            return {}

    async def load(self, name: str, *, version: str | None) -> LoadReport:
        """See `Loader.load`."""
        if self._one_at_a_time.locked():
            raise LoadBusyError("a model is being loaded; try again when it is served")
        async with self._one_at_a_time:
            return await self._load(name, version=version)

    async def load_newest(self) -> None:
        """Load every model whose newest version is not the one that is served; what fails is logged."""
        async with self._one_at_a_time:
            versions = await self.available()
            served, missing = self.served(), self.missing()
            gone = [name for name in served if name not in versions]
            for name in gone:
                logger.warning(
                    "model %s has no bundle any more that can be loaded: version %s goes on being served "
                    "until its process ends; put the bundle back, or restart the server without it",
                    name,
                    served[name],
                )
            stale = [name for name in versions if name in missing or served.get(name) != versions[name][-1]]
            if not stale and not gone:
                logger.info("nothing to load: the newest version of each model is served")
            for name in stale:
                try:
                    await self._load(name, version=None)
                except (LoadError, LoadBusyError) as error:
                    # One broken bundle must not keep the others from being loaded.
                    logger.error("model %s stays as it is: %s", name, error)

    async def _load(self, name: str, *, version: str | None) -> LoadReport:
        try:
            found, _ = await asyncio.to_thread(self._catalog.find, name, version=version)
        except BundleError as error:
            raise LoadError(str(error)) from None
        report = await self._replace(name, version=found)
        logger.info(
            "model %s: version %s takes the place of %s", name, found, report.previous_version or "none"
        )
        return report


async def load_newest_on_hangup(loads: Loads) -> None:
    """At each SIGHUP, load the newest version of each model; until canceled."""
    hangup = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    while True:
        await hangup.wait()
        hangup.clear()
        await loads.load_newest()
