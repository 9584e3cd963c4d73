"""What the two distributions share, each having a copy of its own; make release-check does the rest."""

from pathlib import Path

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
