"""Is HEAD fit for a release? A clean clone is built, and what was built is installed and used.

    python release/check.py UV      (make release-check)

The two distributions go into two empty environments, with nothing but what they ask for, in the versions and
by the hashes of constraints.txt. From the one the service serves the shipped bundle, and from the other the
client calls it. Needs the standard library, git, and the package index or what uv has kept of it.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
# Folders that are linked into the package.
PARTS = ("service", "batch", "training", "export")
READY_TIMEOUT_S = 60.0

CALL = """
import json, sys
from pathlib import Path
from kohonen_tokenizer_client import Client, __version__

url, image = sys.argv[1:]
with Client(url) as client:
    tokens = client.encode(Path(image))
    images = client.decode(tokens)
found = {"version": __version__, "tokens": tokens.tolist(), "images": [*images.shape, str(images.dtype)]}
print(json.dumps(found))
"""


def main() -> None:
    """Check HEAD, and say each thing that holds; exit with 1 and one line at the first that does not."""
    uv = str(Path(sys.argv[1]).absolute())
    with tempfile.TemporaryDirectory(prefix="release-check-") as name:
        folder = Path(name)
        clone = folder / "clone"
        run("git", "clone", "--quiet", str(ROOT), str(clone), cwd=folder)
        say(f"a clean clone of {run('git', 'describe', '--always', cwd=clone).strip()}")
        constraints = clone / "constraints.txt"
        wheel, version = build(uv, clone, constraints=constraints)
        client_wheel, client_version = build(uv, clone / "client", constraints=constraints)
        if version != client_version:
            fail(f"the project is {version} and its client {client_version}: give both one __version__")
        check_changelog(clone / "CHANGELOG.md", version=version)
        check_contents(wheel, tracked=tracked_files(clone, "kohonen_tokenizer", *PARTS))
        check_contents(client_wheel, tracked=tracked_files(clone / "client", "kohonen_tokenizer_client"))
        service, client = (
            install(uv, built, into=folder / place, constraints=constraints)
            for built, place in ((wheel, "service"), (client_wheel, "client"))
        )
        check_in_use(service, client, clone=clone, version=version)
    say(f"{version} is fit for release")


def build(uv: str, project: Path, *, constraints: Path) -> tuple[Path, str]:
    """The wheel of `project`, made from its source distribution, and its version."""
    by_hash = ("--require-hashes", "--build-constraints", str(constraints))
    run(uv, "build", "--quiet", *by_hash, "--out-dir", "dist", ".", cwd=project)
    (wheel,) = (project / "dist").glob("*.whl")
    return wheel, wheel.name.split("-")[1]


def check_changelog(path: Path, *, version: str) -> None:
    """Fail unless the changelog has a heading of the version or of what is unreleased, with text below it."""
    sections = dict(re.findall(r"^## \[(.+?)\][^\n]*\n(.*?)(?=^## |\Z)", path.read_text(), re.M | re.S))
    for heading in (version, "Unreleased"):
        if sections.get(heading, "").strip():
            say(f"{path.name} tells of {heading}")
            return
    fail(f"{path.name} says nothing under [{version}] or [Unreleased]: write what changes for users")


def tracked_files(project: Path, *folders: str) -> set[str]:
    """What git has in the package `folders[0]` and in the parts linked into it, as a wheel names it."""
    package, *parts = folders
    listed = run("git", "ls-files", "--", *folders, cwd=project).splitlines()
    moved = (f"{package}/{path}" if path.split("/")[0] in parts else path for path in listed)
    return {path for path in moved if not (project / path).is_symlink()}


def check_contents(wheel: Path, *, tracked: set[str]) -> None:
    """Fail unless the wheel is what is tracked, and its metadata with the license; no less and no more."""
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    if different := tracked ^ (names - metadata):
        fail(f"{wheel.name} and the repository differ in {', '.join(sorted(different))}")
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in metadata):
        fail(f"{wheel.name} has no license: is it a file, and no link, in the source distribution?")
    say(f"{wheel.name} holds the {len(tracked)} files of the repository and the license")


def install(uv: str, wheel: Path, *, into: Path, constraints: Path) -> Path:
    """The bin folder of a new environment with the wheel and what it asks for."""
    run(uv, "venv", "--quiet", "--python", sys.executable, str(into), cwd=into.parent)
    python = ("--python", str(into))
    run(uv, "pip", "install", "--quiet", *python, "--constraints", str(constraints), str(wheel), cwd=into)
    run(uv, "pip", "check", "--quiet", *python, cwd=into)
    packages = json.loads(run(uv, "pip", "list", "--quiet", "--format", "json", *python, cwd=into))
    say(f"{wheel.name} installs with {len(packages) - 1} other packages")
    return into / "bin"


def check_in_use(service: Path, client: Path, *, clone: Path, version: str) -> None:
    """Fail unless the installed command and the installed client work, and agree."""
    command = str(service / "kohonen-tokenizer")
    bundle, image = str(clone / "bundles" / "cifar10-ksom-512"), str(clone / "docs" / "example.jpg")
    said = run(command, "--version", cwd=service).strip()
    if said != version:
        fail(f"kohonen-tokenizer --version says {said}, and the wheel is {version}")
    run(command, "inspect", bundle, cwd=service)
    tokens = json.loads(run(command, "encode", image, "--bundle", bundle, cwd=service))["tokens"]
    with serving(command, bundle=bundle, cwd=service) as url:
        called: dict[str, Any] = json.loads(run(str(client / "python"), "-c", CALL, url, image, cwd=client))
    expected = {"version": version, "tokens": tokens, "images": [1, 32, 32, 3, "uint8"]}
    if called != expected:
        fail(f"the client got {called}, and should have got {expected}")
    say("inspect, encode, serve, and the client's encode and decode over HTTP work, and agree")


@contextmanager
def serving(command: str, *, bundle: str, cwd: Path) -> Iterator[str]:
    """The URL of the service while it runs; fail unless it becomes ready, and ends well when told to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (cwd / "log").open("w+") as log:
        serve = [command, "serve", "--bundle", bundle, "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(serve, cwd=cwd, env=environment(), stderr=log)
        try:
            deadline = time.monotonic() + READY_TIMEOUT_S
            while not is_ready(url):
                if server.poll() is not None or time.monotonic() > deadline:
                    fail(f"the service is not ready: {(cwd / 'log').read_text()}")
                time.sleep(0.2)
            yield url
        finally:
            server.terminate()
            server.wait()
    if server.returncode != 0:
        fail(f"the service ended with {server.returncode}: {(cwd / 'log').read_text()}")


def is_ready(url: str) -> bool:
    """Whether the service says so."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def environment() -> dict[str, str]:
    """This process's, less what would let a new environment find other packages or other settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL", "KOHONEN"))
    }


def run(*command: str, cwd: Path) -> str:
    """The output of a command; fail with all that it said if it fails."""
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(f"{' '.join(command[:4])} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def say(what: str) -> None:
    """Print a thing that holds."""
    print(what, flush=True)


def fail(why: str) -> NoReturn:
    """End with one line on stderr and the status 1."""
    sys.exit(f"error: {why.rstrip()}")


if __name__ == "__main__":
    main()
