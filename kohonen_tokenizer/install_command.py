"""What to run for an extra that is not installed: a command for the environment that runs this program."""

import importlib.util
import json
import os
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

PACKAGE = "kohonen-tokenizer"

# The container images set it to their target: nothing can be installed in them, but another may be taken.
IMAGE_VARIABLE = "TOKENIZER_IMAGE_TARGET"
_IMAGE_TARGETS = {"gpu": "gpu", "torch": "torch", "batch": "batch", "training": "train", "export": "train"}


def install_command(extra: str) -> str:
    """The command that adds `extra` to this installation of the package, from where the package came.

    In a container image it is the one that builds the image which has the extra, if there is one.
    """
    if IMAGE_VARIABLE in os.environ and extra in _IMAGE_TARGETS:
        return f"docker build --target {_IMAGE_TARGETS[extra]} ."
    origin = _origin()
    if origin is None:
        return install_requirement(f"{PACKAGE}[{extra}]")
    if origin.get("dir_info", {}).get("editable"):
        return f"{_installer()} -e {shlex.quote(f'{_path(origin)}[{extra}]')}"
    vcs = origin.get("vcs_info")
    url = f"{vcs['vcs']}+{origin['url']}@{vcs['commit_id']}" if vcs else origin["url"]
    return install_requirement(f"{PACKAGE}[{extra}] @ {url}")


def install_requirement(requirement: str) -> str:
    """The command that installs `requirement` beside this package."""
    return f"{_installer()} {shlex.quote(requirement)}"


def _installer() -> str:
    if importlib.util.find_spec("pip") is not None:
        return "pip install"
    # uv makes environments without pip. The Makefile's uv is in the clone.
    origin = _origin()
    own_uv = Path(_path(origin), ".uv/bin/uv") if origin else Path()
    uv = shlex.quote(str(own_uv)) if own_uv.is_file() else "uv"
    return f"{uv} pip install --python {shlex.quote(sys.executable)}"


def _origin() -> dict[str, Any] | None:
    """Where the package was installed from, by PEP 610; None if that is a registry."""
    for distribution in metadata.distributions(name=PACKAGE):
        text = distribution.read_text("direct_url.json")
        return json.loads(text) if text else None
    return None


def _path(origin: dict[str, Any]) -> str:
    return unquote(urlsplit(origin["url"]).path)
