from importlib import metadata
from typing import Any

import pytest

from kohonen_tokenizer.install_command import install_requirement
from kohonen_tokenizer.service.installation import Extra, Package, list_extras, list_packages

REQUIREMENTS = {
    "kohonen-tokenizer": [
        "alpha>=1.0",
        "beta[fast]>=2",
        'nowhere; sys_platform == "no such system"',
        'torch>=2.11; extra == "torch"',
        'gamma; extra == "more"',
        'kohonen-tokenizer[torch]; extra == "more"',
        'tester; extra == "dev"',
    ],
    "beta": ["delta", 'quick>=3; extra == "fast"', 'slow; extra == "slow"'],
}


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have these versions installed, of the packages above, by name: install(alpha="1.0")."""

    def install(**versions: str) -> None:
        installed = {"kohonen-tokenizer": "0.1"} | versions

        def version(name: str) -> str:
            if name not in installed:
                raise metadata.PackageNotFoundError(name)
            return installed[name]

        class Metadata:
            def get_all(self, name: str) -> list[str]:
                return {"Provides-Extra": ["torch", "more", "dev"]}[name]

        monkeypatch.setattr(metadata, "version", version)
        monkeypatch.setattr(metadata, "requires", REQUIREMENTS.get)
        monkeypatch.setattr(metadata, "metadata", lambda name: Metadata())

    return install


def test_what_is_right_has_no_problem(install: Any) -> None:
    install(alpha="1.2", beta="2.0", quick="3.1", delta="1")
    assert list_packages() == [
        Package("alpha", "1.2", None),
        Package("beta", "2.0", None),
        Package("torch", None, None),
    ]


@pytest.mark.parametrize(
    ("versions", "name", "version", "needed"),
    [
        ({"beta": "2", "quick": "3"}, "alpha", None, "alpha>=1.0"),
        ({"alpha": "0.9", "beta": "2", "quick": "3"}, "alpha", "0.9", "alpha>=1.0"),
        ({"alpha": "1", "beta": "2"}, "beta", "2", "beta[fast]>=2"),
        ({"alpha": "1", "beta": "2", "quick": "3", "torch": "2.0"}, "torch", "2.0", "torch>=2.11"),
    ],
)
def test_what_is_missing_or_old_has_its_fix(
    install: Any, versions: dict[str, str], name: str, version: str | None, needed: str
) -> None:
    install(**versions)
    problems = [package for package in list_packages() if package.problem]
    assert problems == [Package(name, version, f"{needed} is needed; run: {install_requirement(needed)}")]


def test_an_extra_says_what_it_lacks_down_to_the_extras_of_others(install: Any) -> None:
    install(gamma="1")
    assert list_extras() == [Extra("more", ["torch"]), Extra("torch", ["torch"])]
    install(torch="2.0")
    assert list_extras() == [Extra("more", ["gamma", "torch>=2.11"]), Extra("torch", ["torch>=2.11"])]
    install(gamma="1", torch="2.12")
    assert list_extras() == [Extra("more", []), Extra("torch", [])]
