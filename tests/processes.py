"""Looks at the processes of this machine, to see that none is left behind."""

import time
from pathlib import Path

Mark = tuple[int, str]
"""A process id and its start time, which together never come again."""


def table() -> dict[int, tuple[int, str, str]]:
    """Return parent, start time and state of every process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found[int(entry.name)] = (int(fields[1]), fields[19], fields[0])
    return found


def descendants(pid: int) -> set[Mark]:
    """Return the living processes below one."""
    processes = table()
    below, new = set[int](), {pid}
    while new:
        new = {child for child, (parent, _, _) in processes.items() if parent in new} - below
        below |= new
    return {(child, processes[child][1]) for child in below}


def is_stopped(pid: int) -> bool:
    """Whether a process is suspended, as by Ctrl-Z."""
    return table().get(pid, (0, "", ""))[2] in ("T", "t")


def alive(marks: set[Mark]) -> set[Mark]:
    """Return those that still live; a zombie does not."""
    processes = table()
    return {(pid, born) for pid, born in marks if processes.get(pid, (0, "", "Z"))[1:] in {(born, s) for s in "RSDTt"}}


def wait_until_gone(marks: set[Mark], seconds: float = 8) -> set[Mark]:
    """Wait for processes to end and return those that did not."""
    deadline = time.monotonic() + seconds
    while (left := alive(marks)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
