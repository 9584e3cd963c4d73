"""Inputs that are kept: by target, a file each, named by its SHA-1 as libFuzzer does."""

from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")


def is_finding(file: Path) -> bool:
    """Whether `file` was a finding once: libFuzzer tells so before the hash, as in crash-6dcd4ce2."""
    return "-" in file.name


def kept_files(target: str) -> list[Path]:
    """The inputs of `target`."""
    return sorted((CORPUS / target).iterdir())
