"""Processes that this benchmark starts, and what /proc says of them and of all their descendants."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOP_TIMEOUT_S = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a process and its descendants use at one moment."""

    cpu_s: float
    """CPU seconds so far, of those that still run."""
    rss_mib: float
    num_files: int
    num_threads: int


def end_on_sigterm() -> None:
    """From now on SIGTERM ends this process as an exit does, so that what it started ends with it."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@contextmanager
def running(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> Iterator[int]:
    """Run `command` inside the block; its id is given, and after the block it and its descendants are gone.

    Args:
        env: variables on top of this process's own.
        log: the file for what it prints.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | env, cwd=cwd, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield process.pid
        finally:
            family = [process.pid, *_descendants(process.pid)]
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pid in family:
                # Daemons that a framework leaves behind would go on taking CPU from the next measurement.
                if pid != process.pid and _exists(pid):
                    os.kill(pid, signal.SIGKILL)


def usage(pid: int) -> Usage:
    """What process `pid` and its descendants use now."""
    cpu_s, rss_mib, num_files, num_threads = 0.0, 0.0, 0, 0
    for member in (pid, *_descendants(pid)):
        try:
            fields = _stat(member)
            files = sum(1 for _ in Path(f"/proc/{member}/fd").iterdir())
        except OSError:
            continue  # it ended meanwhile
        cpu_s += (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        num_threads += int(fields[17])
        rss_mib += int(fields[21]) * _PAGE_BYTES / 2**20
        num_files += files
    return Usage(cpu_s=cpu_s, rss_mib=rss_mib, num_files=num_files, num_threads=num_threads)


class Machine:
    """What the whole machine's CPUs did since this object was made."""

    def __init__(self) -> None:
        self._before = _machine_ticks()

    def others_share(self, cpu_s: float) -> float:
        """The share of all CPU time that went to others than those that used `cpu_s` of it."""
        busy, total = (now - then for now, then in zip(_machine_ticks(), self._before, strict=True))
        return max(0.0, busy - cpu_s * _TICKS_PER_S) / total


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(_stat(int(folder.name))[1])
        except OSError:
            continue  # it ended meanwhile
        children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def _machine_ticks() -> tuple[int, int]:
    """Ticks that all CPUs together were busy, and ticks that passed."""
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on."""
    # The second is the name in brackets, which may hold spaces and brackets of its own.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
