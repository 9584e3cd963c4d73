"""What the two distributions share, each having a copy of its own; and what an audit ends with."""

import subprocess
import sys
from pathlib import Path

import pytest

import kohonen_tokenizer
import kohonen_tokenizer_client

ROOT = Path(__file__).parents[2]


def test_project_and_client_are_of_one_version() -> None:
    assert kohonen_tokenizer_client.__version__ == kohonen_tokenizer.__version__


def test_license_of_the_client_is_that_of_the_project_and_no_link() -> None:
    # A link would point out of the client's source distribution, and its wheel would have no license.
    license_ = ROOT / "client" / "LICENSE"
    assert not license_.is_symlink()
    assert license_.read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize(
    ("does", "status", "stdout", "stderr"),
    [
        ("print('none', file=sys.stderr)", 0, "none\n", ""),
        ("print('a 1.0 CVE-1'); sys.exit(1)", 1, "a 1.0 CVE-1\n", ""),
        ("raise OSError('no route')", 2, "", "which pypi.org must be reached: OSError: no route\n"),
        ("sys.exit('ERROR:pip_audit._cli:a is not there')", 2, "", "must be reached: a is not there\n"),
    ],
)
def test_audit_tells_vulnerabilities_from_not_knowing(
    tmp_path: Path, does: str, status: int, stdout: str, stderr: str
) -> None:
    (tmp_path / "pip_audit.py").write_text(f"import sys\n{does}\n")
    audit = [sys.executable, str(ROOT / "release" / "audit.py")]
    done = subprocess.run(
        audit, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (status, stdout)
    assert done.stderr.endswith(stderr)
    assert done.stderr.count("\n") == (status == 2)
