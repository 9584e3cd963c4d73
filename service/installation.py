"""What is installed, against what this package asks for."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

from kohonen_tokenizer.install_command import PACKAGE, install_requirement


@dataclass(frozen=True, slots=True)
class Package:
    """A package that this one depends on."""

    name: str
    version: str | None
    """None where it is not installed."""
    problem: str | None
    """What is wrong with it, and the fix; None where nothing is."""


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional part of this package."""

    name: str
    missing: list[str]
    """What is not there of what it needs; empty where it is installed."""


def list_packages() -> list[Package]:
    """What the base install needs, and torch, each with its version; nothing is imported."""
    packages = []
    for requirement in (*_requirements(PACKAGE, extra=""), *_requirements(PACKAGE, extra="torch")):
        version, is_optional = _version(requirement.name), requirement.name == "torch"
        is_wrong = any(_missing(requirement)) and not (version is None and is_optional)
        fix = f"{requirement} is needed; run: {install_requirement(str(requirement))}"
        packages.append(Package(requirement.name, version, fix if is_wrong else None))
    return sorted(packages, key=lambda package: package.name)


def list_extras() -> list[Extra]:
    """Every extra of this package but that of its developers."""
    names = metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    return [
        Extra(name, [problem for each in _requirements(PACKAGE, extra=name) for problem in _missing(each)])
        for name in sorted(set(names) - {"dev"})
    ]


def _requirements(package: str, *, extra: str) -> list[Requirement]:
    """What an extra of `package` needs on this machine beyond the base, or for "" what the base does."""
    found = []
    for text in metadata.requires(package) or ():
        requirement = Requirement(text)
        marker, requirement.marker = requirement.marker, None
        in_base = marker is None or marker.evaluate({"extra": ""})
        if in_base if not extra else not in_base and marker is not None and marker.evaluate({"extra": extra}):
            found.append(requirement)
    return found


def _missing(requirement: Requirement) -> Iterator[str]:
    version = _version(requirement.name)
    if version is None:
        yield requirement.name
        return
    if not requirement.specifier.contains(version, prereleases=True):
        yield f"{requirement.name}{requirement.specifier}"
    for extra in sorted(requirement.extras):
        for further in _requirements(requirement.name, extra=extra):
            yield from _missing(further)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
