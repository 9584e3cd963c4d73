"""The forge's CI runs what developers run."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_every_step_is_a_target_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    commands = [step["run"].split() for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {make for make, *_ in commands} == {"make"}
    called = {target for _, target, *_ in commands}
    assert called == {"test", "fuzz", "fuzz-api", "secrets", "audit", "release-check", "test-containers"}
    assert called <= targets
