"""Fuzz every reader of strangers' bytes in turn, guided by coverage: `make fuzz`, `python -m tests.fuzz`.

Each target begins with its seeds and its corpus, and has as much of the time as the others. What then
reaches code that these do not is added to the corpus, the smallest first. An input that is a finding is left
there, too, and has its target fail in every test run until it is mended; then it stays, so that it stays
mended.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from hashlib import sha1
from pathlib import Path

from .kept_inputs import CORPUS, is_finding, kept_files
from .seeds import MAX_BYTES, seeds_of_targets

MAX_CORPUS_BYTES = 16 * 1024
"""Of a target, findings not counted."""

_ROOT = Path(__file__).parents[2]
# Seconds of the clock are for what hangs; the bounds of oracle.py are the narrower ones.
_LIMITS = ("-timeout=60", "-report_slow_units=60", "-rss_limit_mb=4096", f"-max_len={MAX_BYTES}")
_COLUMNS = "{:<18}{:>12}{:>9}{:>9}{:>9}{:>7}{:>8}{:>10}"


def main() -> int:
    """Fuzz, and return 1 if anything was found."""
    seeds = seeds_of_targets()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition(":")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"by default all: {', '.join(seeds)}")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together (%(default)s)")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.targets) - set(seeds))
    if unknown:
        parser.error(f"no target {', '.join(unknown)}; choose from {', '.join(seeds)}")
    names = arguments.targets or list(seeds)
    print(
        _COLUMNS.format("target", "executions", "seconds", "cov from", "cov to", "files", "bytes", "findings")
    )
    seconds = max(1, round(60 * arguments.minutes / len(names)))
    # All of them, whatever the first ones give.
    failed = [name for name in names if not _fuzz(name, seeds=seeds[name], seconds=seconds)]
    return 1 if failed else 0


def _fuzz(name: str, *, seeds: list[bytes], seconds: int) -> bool:
    """Fuzz one target, keep what is new, tell what came of it, and return whether there was no finding."""
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    known = set(corpus.iterdir())
    with tempfile.TemporaryDirectory() as folder:
        found, start = Path(folder, "found"), Path(folder, "start")
        found.mkdir()
        start.mkdir()
        for seed in seeds:
            # As libFuzzer names its own.
            (start / sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
        done = _work(
            name,
            f"-max_total_time={seconds}",
            f"-dict={Path(__file__).with_name('dictionary.txt')}",
            f"-artifact_prefix={corpus}/",
            "-print_final_stats=1",
            *(str(inputs) for inputs in (found, start, corpus)),
        )
        _merge(name, start=start, corpus=corpus, found=found)
    files = kept_files(name)
    coverage = re.findall(r"^#\d+\s+[A-Z]\w* +cov: (\d+)", done.stdout, re.MULTILINE) or ["-"]
    num_executions = re.search(r"^stat::number_of_executed_units: +(\d+)", done.stdout, re.MULTILINE)
    row = (
        name,
        num_executions[1] if num_executions else "-",
        seconds,
        coverage[0],
        coverage[-1],
        len(files),
        sum(file.stat().st_size for file in files),
        len([file for file in files if is_finding(file) and file not in known]),
    )
    print(_COLUMNS.format(*row), flush=True)
    if done.returncode:
        # The traceback, or why libFuzzer did not even begin.
        print(done.stdout[-4000:], flush=True)
    return not done.returncode


def _merge(name: str, *, start: Path, corpus: Path, found: Path) -> None:
    """Have the corpus be a small part of what is in it and what was found, with the coverage of all."""
    seeds = set(start.iterdir())
    done = _work(name, "-set_cover_merge=1", *(str(inputs) for inputs in (start, corpus, found)))
    if done.returncode:
        return
    merged = sorted(set(start.iterdir()) - seeds, key=lambda file: (file.stat().st_size, file.name))
    for file in corpus.iterdir():
        if not is_finding(file):
            file.unlink()
    num_bytes = 0
    for file in merged:
        num_bytes += file.stat().st_size
        if num_bytes > MAX_CORPUS_BYTES:
            break
        (corpus / file.name).write_bytes(file.read_bytes())


def _work(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run libFuzzer on a target; it ends with an error if it finds something."""
    command = [sys.executable, "-m", "tests.fuzz.worker", name, *_LIMITS, *options]
    # Beside the corpus, a finding is written to the working directory.
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            check=False,
        )


if __name__ == "__main__":
    sys.exit(main())
