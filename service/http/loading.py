"""From settings to models in memory: the part of a start that takes long and may fail."""

from pathlib import Path

from ..errors import BundleError
from ..runtime.model_directory import find_bundle, list_models
from ..runtime.tokenizer import Tokenizer
from .models import LoadedModel
from .settings import Settings


def load_models(settings: Settings) -> list[LoadedModel]:
    """The models that `settings` name, each verified and with running graphs.

    Raises:
        BundleError: a bundle is not there, is not what its manifest says, or does not run.
        DeviceError: the device does not work here.
    """
    if settings.bundle is not None:
        tokenizer = _load(settings.bundle, settings=settings)
        return [LoadedModel(name=tokenizer.manifest.name, version="1", tokenizer=tokenizer)]
    assert settings.models is not None
    return [load_version(settings, name=name) for name in list_models(settings.models)]


def load_version(settings: Settings, *, name: str, version: str | None = None) -> LoadedModel:
    """Model `name` from the model directory, in `version` or the highest one there is.

    Raises:
        BundleError: there is none, or it cannot be served.
        DeviceError: the device does not work here.
    """
    assert settings.models is not None
    version, path = find_bundle(settings.models, name=name, version=version)
    return LoadedModel(name=name, version=version, tokenizer=_load(path, settings=settings))


def _load(path: Path, *, settings: Settings) -> Tokenizer:
    try:
        return Tokenizer.load(
            path, device=settings.device, num_threads=settings.num_threads, backend=settings.backend
        )
    except BundleError as error:
        raise type(error)(f"{path}: {error}") from None
