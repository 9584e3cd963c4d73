"""A limit of memory as containers have it: a control group of the kernel, which kills what exceeds it."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .outcome import UnmeasurableError

_MIB = 2**20
_MOUNT = Path("/sys/fs/cgroup")
# For the kernel to have counted that a process has ended.
_SETTLE_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Files:
    """The names of a control group's files."""

    limit: str
    swap: str
    peak: str
    kills: str


_VERSION_1 = _Files(
    limit="memory.limit_in_bytes",
    swap="memory.memsw.limit_in_bytes",
    peak="memory.max_usage_in_bytes",
    kills="memory.oom_control",
)
_VERSION_2 = _Files(limit="memory.max", swap="memory.swap.max", peak="memory.peak", kills="memory.events")


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryLimit:
    """A group that processes may be started in."""

    folder: Path
    files: _Files

    def command(self, command: Sequence[str]) -> Sequence[str]:
        """`command`, to be run in the group."""
        return ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command)

    @property
    def peak_mib(self) -> float:
        """The most that the group had so far."""
        return int((self.folder / self.files.peak).read_text()) / _MIB

    @property
    def num_killed(self) -> int:
        """Processes that the kernel has killed for it."""
        (num,) = re.findall(r"^oom_kill (\d+)$", (self.folder / self.files.kills).read_text(), re.MULTILINE)
        return int(num)


@contextmanager
def memory_limit(mib: int) -> Iterator[MemoryLimit]:
    """A group whose processes together may have `mib`, and no swap, until the block ends.

    Raises:
        UnmeasurableError: none can be made here.
    """
    parent, files = _parent()
    folder = parent / f"kohonen-faults-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        raise UnmeasurableError(f"no control group can be made in {parent}: {error.strerror}") from error
    try:
        if not (folder / files.limit).exists():
            raise UnmeasurableError(f"the groups in {parent} have no limit of memory")
        (folder / files.limit).write_text(str(mib * _MIB))
        if (folder / files.swap).exists():
            (folder / files.swap).write_text(str(mib * _MIB) if files is _VERSION_1 else "0")
        yield MemoryLimit(folder=folder, files=files)
    finally:
        time.sleep(_SETTLE_S)
        folder.rmdir()


def _parent() -> tuple[Path, _Files]:
    """Where a group can be made, and the names of its files."""
    if (_MOUNT / "cgroup.controllers").exists():
        # The second version lets only the root have both processes and groups that share memory out.
        return _MOUNT, _VERSION_2
    own = re.search(r"^\d+:memory:(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
    if own is None:
        raise UnmeasurableError("the kernel has no control groups for memory here")
    return _MOUNT / "memory" / own[1].lstrip("/"), _VERSION_1
