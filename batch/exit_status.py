"""What the commands end with, for schedulers; 0 is success and 2 any error that one line tells."""

from typing import Final

SOME_FAILED: Final = 3
"""The dataset is complete, and some images have no tokens."""
ERROR_LIMIT: Final = 4
"""More images failed than --strict or --max-errors allow."""
FLAWED: Final = 5
"""The dataset is not what its manifest says."""
INTERRUPTED: Final = 130
"""Ctrl-C, as shells have it."""
