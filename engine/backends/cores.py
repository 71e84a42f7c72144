"""How many threads the embedded model should compute with."""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = _QUOTA) -> int:
    """Return the cores that this process may use: its affinity mask, bounded by the cgroup's quota (cgroup v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = quota.read_text().split()
        return max(1, min(cores, math.floor(int(share) / int(period))))
    except (OSError, ValueError):
        return cores


def compute_threads(cores: int | None = None) -> int:
    """Return cores - 1, at least 1.

    Threads that wait for each other spin: with one on every core, any other load makes generation many times slower.
    """
    return max(1, (usable_cores() if cores is None else cores) - 1)


def slots_for(threads: int) -> int:
    """Return how many requests at once suit this many threads.

    Two, so that one task's next turn still finds its prompt while another task is answered; with more threads, batches
    of up to four make better use of them. A slot costs memory for its context.
    """
    return min(4, max(2, threads // 2))
