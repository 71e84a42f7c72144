"""Whether the process that wrote a run is still there."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import NamedTuple


class ProcessMark(NamedTuple):
    """What names a process for good: a bare pid may be given to another one later.

    Attributes:
        pid: Its id.
        born: When it started, in the words of the operating system; empty where that is unknown.
        place: The machine (and on Linux its boot and pid namespace) where the pid means something.
    """

    pid: int
    born: str
    place: str


def this_process() -> ProcessMark:
    """Return the mark of the running process."""
    pid = os.getpid()
    return ProcessMark(pid, _born(pid) or "", _place())


def is_gone(mark: ProcessMark) -> bool:
    """Whether the process certainly does not run any more; False when that cannot be known from here."""
    if not mark.born:
        return False
    host, _, rest = _place().partition(" ")
    their_host, _, their_rest = mark.place.partition(" ")
    if host != their_host:
        return False
    if rest != their_rest:
        return rest.partition(" ")[0] != their_rest.partition(" ")[0]  # another boot; another namespace says nothing
    return _born(mark.pid) != mark.born


def _place() -> str:
    host = platform.node() or "localhost"
    if sys.platform != "linux":
        return host
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{host} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return host


def _born(pid: int) -> str | None:
    """Return when a living process started; None when there is none (a zombie counts as gone) or nobody can say."""
    if sys.platform == "linux":
        return _born_linux(pid)
    if sys.platform == "win32":
        return None
    import subprocess

    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def _born_linux(pid: int) -> str | None:
    """Read fields 3 (state) and 22 (start, ticks since boot) of proc_pid_stat(5); field 2 may hold any character."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    after = text.rpartition(")")[2].split()
    return None if after[0] in "ZX" else after[19]
