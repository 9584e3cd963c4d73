"""How many threads of computation this process may use."""

import math
import os
from pathlib import Path

# Where the kernel shows a container its own limit: "max 100000" or "<quota> <period>", in microseconds.
_CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")

# A fact about the whole process, known before anything in it asks for threads.
_num_processes = 1


def share_cpus(num_processes: int) -> None:
    """Have this process take its share only, from now on: `num_processes` like it run side by side."""
    global _num_processes
    _num_processes = num_processes


def available_threads(cpu_max: Path = _CGROUP_CPU_MAX) -> int:
    """CPUs this process may use: the scheduler's affinity, bounded by the cgroup's (v2) quota, rounded up.

    `os.cpu_count` sees neither, and threads beyond the quota only take turns being stopped. Of several
    processes that share them (`share_cpus`), each has its part, rounded down but at least one.
    """
    return max(1, _usable_cpus(cpu_max) // _num_processes)


def _usable_cpus(cpu_max: Path) -> int:
    num_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text().split()
    except OSError:
        return num_cpus
    if quota == "max":
        return num_cpus
    return max(1, min(num_cpus, math.ceil(int(quota) / int(period))))
