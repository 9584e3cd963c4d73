"""Have the packages of constraints.txt known vulnerabilities? pip-audit asks pypi.org for each of them.

    python release/audit.py      (make audit)

Exit status: 0 none has; 1 some have, and stdout says which; 2 it cannot be told, and one line says why.
Those of other systems than this one, by the markers of constraints.txt, are left out.
"""

import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
# Strict: a package that pypi.org does not tell about would else count as free of them.
AUDIT = ("--disable-pip", "--require-hashes", "--strict", "--progress-spinner", "off", "--desc", "off")


def main() -> None:
    """Audit the constraints and exit with the status."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), *AUDIT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and not done.stdout.strip():
        *_, why = done.stderr.strip().splitlines() or ["no reason given"]
        why = why.removeprefix("ERROR:pip_audit._cli:")
        print(
            f"error: {CONSTRAINTS.name} is not audited, for which pypi.org must be reached: {why}",
            file=sys.stderr,
        )
        sys.exit(2)
    print(done.stdout + done.stderr, end="")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
