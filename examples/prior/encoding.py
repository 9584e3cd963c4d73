"""A source of images as tokens in memory, by the batch job."""

import subprocess
import sys
from pathlib import Path

from .token_dataset import TokenDataset


def encoded(source: str, *, bundle: Path, folder: Path) -> TokenDataset:
    """The tokens of every image of `source`; `folder` keeps them, and what it has is not done again.

    Raises:
        subprocess.CalledProcessError: the job failed, and has said why on stderr.
    """
    command = [sys.executable, "-m", "kohonen_tokenizer", "encode", source, str(folder)]
    subprocess.run([*command, "--bundle", str(bundle)], check=True)
    return TokenDataset.read(folder)
