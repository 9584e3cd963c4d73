"""The command that installs an extra, by where the package came from and what the environment has."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kohonen_tokenizer.install_command import IMAGE_VARIABLE, install_command, install_requirement

HASH = "9f2c0f4c6a2f"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the package installed like this: installed({"url": ...}, has_pip=False)."""

    def set_up(origin: dict[str, Any] | None, *, has_pip: bool) -> None:
        text = None if origin is None else json.dumps(origin)
        distribution = SimpleNamespace(read_text=lambda name: text if name == "direct_url.json" else None)
        monkeypatch.setattr(metadata, "distributions", lambda **_: iter([distribution]))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if has_pip else None)

    return set_up


def editable(folder: Path) -> dict[str, Any]:
    return {"url": folder.as_uri(), "dir_info": {"editable": True}}


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, "pip install 'kohonen-tokenizer[torch]'"),
        (editable(Path("/home/a b/clone")), "pip install -e '/home/a b/clone[torch]'"),
        (
            {"url": "file:///home/clone", "dir_info": {}},
            "pip install 'kohonen-tokenizer[torch] @ file:///home/clone'",
        ),
        (
            {"url": "https://example.org/k.git", "vcs_info": {"vcs": "git", "commit_id": HASH}},
            f"pip install 'kohonen-tokenizer[torch] @ git+https://example.org/k.git@{HASH}'",
        ),
    ],
)
def test_an_extra_comes_from_where_the_package_came_from(
    installed: Any, origin: dict[str, Any] | None, command: str
) -> None:
    installed(origin, has_pip=True)
    assert install_command("torch") == command


@pytest.mark.parametrize("extra", ["gpu", "torch", "batch", "training", "export"])
def test_in_an_image_it_builds_the_one_that_has_the_extra(
    monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    monkeypatch.setenv(IMAGE_VARIABLE, "cpu")
    program, verb, option, target, folder = install_command(extra).split()
    assert (program, verb, option, folder) == ("docker", "build", "--target", ".")
    dockerfile = (Path(__file__).parents[1] / "Dockerfile").read_text()
    # The stage that it is built from installs the extra, or one that includes it.
    wanted = {"training": "export"}.get(extra, extra)
    assert re.search(rf"FROM \S+ AS build-{target}\nRUN uv pip install .* --extra {wanted}\n", dockerfile)


def test_without_pip_it_is_uv_for_this_python(installed: Any, tmp_path: Path) -> None:
    uv = ["uv", "pip", "install", "--python", sys.executable]
    installed(None, has_pip=False)
    assert shlex.split(install_requirement("numpy>=2")) == [*uv, "numpy>=2"]
    installed(editable(tmp_path), has_pip=False)
    assert shlex.split(install_command("torch")) == [*uv, "-e", f"{tmp_path}[torch]"]
    own = tmp_path / ".uv" / "bin" / "uv"
    own.parent.mkdir(parents=True)
    own.touch()
    assert shlex.split(install_command("torch")) == [str(own), *uv[1:], "-e", f"{tmp_path}[torch]"]


def test_a_package_that_was_not_installed_has_a_command_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distributions", lambda **_: iter(()))
    assert shlex.split(install_command("otel"))[-1] == "kohonen-tokenizer[otel]"


def test_this_installation_knows_its_clone() -> None:
    code = "from kohonen_tokenizer.install_command import install_command; print(install_command('torch'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    clone = Path(__file__).parents[1]
    assert shlex.split(done.stdout)[-2:] == ["-e", f"{clone}[torch]"]
