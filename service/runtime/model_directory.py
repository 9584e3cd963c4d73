"""A folder of bundles, each at name/version/: what is there, and which version of a name is the newest."""

import re
from pathlib import Path

from ..errors import BundleNotFoundError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Without leading zeros, so that a version has one spelling; at most nine digits, as it is a number.
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def list_models(directory: Path) -> dict[str, list[str]]:
    """The versions of each name in `directory`, lowest first; folders of other names are no models.

    Raises:
        BundleNotFoundError: it is no folder, or a folder in it cannot be read, or no bundle is in it.
    """
    if not directory.is_dir():
        raise BundleNotFoundError(f"{directory} is no folder; give one that holds bundles as name/version/")
    models = {}
    try:
        for folder in sorted(directory.iterdir()):
            if _NAME.fullmatch(folder.name) and folder.is_dir():
                versions = [path.name for path in folder.iterdir() if _VERSION.fullmatch(path.name)]
                if versions:
                    models[folder.name] = sorted(versions, key=int)
    except OSError as error:
        raise BundleNotFoundError(
            f"{error.filename} cannot be read ({error.strerror}); make it readable, or remove it"
        ) from None
    if not models:
        raise BundleNotFoundError(f"{directory} holds no bundle; put one at name/version/, such as cifar/1/")
    return models


def find_bundle(directory: Path, *, name: str, version: str | None = None) -> tuple[str, Path]:
    """The version and the path of the bundle `name` in `directory`: of `version`, or of the highest one.

    Raises:
        BundleNotFoundError: there is none.
    """
    versions = list_models(directory).get(name, [])
    if not versions:
        raise BundleNotFoundError(f"{directory} holds no model {name[:100]!r}; put a bundle at name/version/")
    if version is None:
        version = versions[-1]
    elif version not in versions:
        raise BundleNotFoundError(
            f"model {name} has no version {version[:20]!r} in {directory}; it has {', '.join(versions[-10:])}"
        )
    return version, directory / name / version
