"""What the guards of child processes need; the standard library only, and little of it, so that they start quickly."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_DEAD = (b"Z", b"X", b"x")


def die_with_parent() -> None:
    """Have this process killed when the thread that started it ends (Linux; elsewhere nothing happens)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Make this process the parent of whatever its descendants leave behind (Linux; elsewhere nothing happens)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def kill_descendants() -> None:
    """Kill every process below this one, also what left its group: orphans become children of one that adopts them."""
    for _ in range(200):
        left = _descendants()
        kill(left)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left:
            return
        time.sleep(0.002)


def kill(pids: list[int]) -> None:
    """Kill processes, as far as they still live and we may."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def members_of_session(session: int) -> list[int]:
    """List the living processes of a session, from Linux's /proc; elsewhere none."""
    return [pid for pid, fields in _table().items() if int(fields[3]) == session]


def birth(pid: int) -> str | None:
    """Return when a living process began, as a text that together with its id never comes again; None without one.

    Linux tells the clock ticks since the machine's start; elsewhere `ps` tells the date.
    """
    if sys.platform != "linux":
        import subprocess

        told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return told.stdout.strip() or None
    fields = _stat(pid)
    if fields is None:
        return None
    return f"{_machine_start()}/{int(fields[19])}"


def same_start(born: str) -> bool:
    """Say whether something that began then began after the machine's last start, as far as that can be told."""
    return sys.platform == "linux" and born.startswith(_machine_start() + "/")


def _machine_start() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123 - no pathlib: it starts slowly
        return file.read().strip()


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, fields in _table().items():
        children.setdefault(int(fields[1]), []).append(pid)
    found: list[int] = []
    pending = [os.getpid()]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def _table() -> dict[int, list[bytes]]:
    """Return the fields of /proc/PID/stat from the third (the state) on, of every living process; see proc(5)."""
    names = os.listdir("/proc") if os.path.isdir("/proc/self") else []  # noqa: PTH112, PTH208 - as above
    rows = ((int(name), _stat(int(name))) for name in names if name.isdigit())
    return {pid: fields for pid, fields in rows if fields is not None}


def _stat(pid: int) -> list[bytes] | None:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
        fields = file.read().rpartition(b")")[2].split()
        return fields if fields and fields[0] not in _DEAD else None
    return None
