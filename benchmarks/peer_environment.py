"""The environment of the peers, apart from ours: with what they need, and without what they do not."""

import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
PEERS_VENV = Path(__file__).parent / ".venv-peers"

_ROOT = Path(__file__).parent.parent
_REQUIREMENTS = Path(__file__).parent / "requirements.txt"
_CONSTRAINTS = Path(__file__).parent / "constraints.txt"


def install_peers() -> None:
    """Bring the peers' environment to the versions of constraints.txt."""
    uv = shutil.which("uv") or str(_ROOT / ".uv" / "bin" / "uv")
    if not PEERS_VENV.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(PEERS_VENV)], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", str(PEERS_VENV)]
    subprocess.run([*install, "--requirements", _REQUIREMENTS, "--constraints", _CONSTRAINTS], check=True)
