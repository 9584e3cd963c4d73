"""What there is to serve: the bundles that an operator named, each with a name and versions."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import BundleError, BundleNotFoundError
from .bundle import MAX_MANIFEST_BYTES
from .bundle_files import open_bundle_files
from .manifest import MANIFEST_FILE, Manifest, sha256_hex
from .model_directory import find_bundle, list_models

# Of the manifest's hash: enough to tell apart what ever stood at one path.
_NUM_DIGITS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalog:
    """One bundle, or a directory of them as name/version/; read anew at each question.

    The version of a single bundle is the beginning of its manifest's SHA-256: it changes with any of its
    files.
    """

    bundle: Path | None
    models: Path | None

    def versions(self) -> dict[str, list[str]]:
        """By name, the versions there are now, lowest first.

        Raises:
            BundleError: there is none, or the bundle's manifest cannot be read.
        """
        if self.bundle is None:
            assert self.models is not None
            return list_models(self.models)
        name, version = _read_identity(self.bundle)
        return {name: [version]}

    def find(self, name: str, *, version: str | None = None) -> tuple[str, Path]:
        """The version and the path of the bundle `name`: of `version`, or of the highest one.

        Raises:
            BundleError: there is none, or the bundle's manifest cannot be read.
        """
        if self.bundle is None:
            assert self.models is not None
            return find_bundle(self.models, name=name, version=version)
        present = _read_identity(self.bundle)
        if name != present[0] or version not in (None, present[1]):
            wanted = name[:100] if version is None else f"{name[:100]} version {version[:20]}"
            raise BundleNotFoundError(
                f"{self.bundle} holds {present[0]} version {present[1]} now, and not {wanted}"
            )
        return present[1], self.bundle


def _read_identity(bundle: Path) -> tuple[str, str]:
    try:
        with open_bundle_files(bundle) as files:
            content = files.read(MANIFEST_FILE, max_bytes=MAX_MANIFEST_BYTES)
        return Manifest.from_json(content).name, sha256_hex(content)[:_NUM_DIGITS]
    except BundleError as error:
        raise type(error)(f"{bundle}: {error}") from None
