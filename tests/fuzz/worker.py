"""One target in a process of its own, under libFuzzer: `python -m tests.fuzz.worker TARGET OPTION...`

The options are libFuzzer's. It ends at the first finding and leaves the input as a file.
"""

import logging
import sys

import atheris

# What libFuzzer sees the coverage of: our readers, and those in Python that they stand on.
_INSTRUMENTED = ["kohonen_tokenizer", "python_multipart", "PIL", "zipfile", "tarfile"]


def main() -> None:
    """Fuzz the target that the command line names; libFuzzer ends the process."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=_INSTRUMENTED):
        from .oracle import bounds
        from .targets import TARGETS
    # Of other libraries, about each bad input.
    logging.disable(logging.WARNING)
    target = TARGETS[name]
    # What is made once must not count for the first input.
    target.check(b"")

    def check(data: bytes) -> None:
        with bounds():
            target.check(data)

    # Under this name libFuzzer starts itself anew when it merges.
    atheris.Setup([f"{sys.executable} -m {__spec__.name} {name}", *options], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
