"""One digest of all files that a command sees: what its outcome depends on, as far as anybody can tell."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from hashlib import file_digest
from pathlib import Path

from engine.files import IgnoreRules, walk
from engine.workspace.clone import inner_goal
from engine.workspace.reads import digest_of_value

Stamp = tuple[int, int, int, int]

_SETTLED = 200_000_000  # nanoseconds after which a file that was written again has another time in its stamp


def stamp_of(info: os.stat_result) -> Stamp:
    """Return what changes with a file's content; a command cannot set the change time back."""
    return info.st_size, info.st_mtime_ns, info.st_ino, info.st_ctime_ns


class FileDigests:
    """The digests of files, each computed once for as long as its stamp stays the same. Threads may share one."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp, str]] = {}
        self._lock = threading.Lock()

    def of(self, path: Path, info: os.stat_result) -> str:
        """Return the SHA-256 of a file, hex; `unreadable` for one that cannot be read.

        Args:
            path: The file.
            info: What `lstat` says about it.
        """
        stamp = stamp_of(info)
        with self._lock:
            known = self._known.get(str(path))
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            with path.open("rb") as file:
                found = file_digest(file, "sha256").hexdigest()
        except OSError:
            return "unreadable"
        if time.time_ns() - max(info.st_mtime_ns, info.st_ctime_ns) > _SETTLED:
            with self._lock:
                self._known[str(path)] = stamp, found
        return found


def digest_of_project(root: Path, may_read: Callable[[str], bool], digests: FileDigests) -> str:
    """Return the digest of the files that a command's copy of the project would hold.

    Args:
        root: The project's root.
        may_read: Tells which files the bundle may read.
        digests: Remembers the digests of files.
    """
    names = (entry.path for entry in walk(root, IgnoreRules(root)) if may_read(entry.path))
    return digest_of_files(root, names, digests)


def digest_of_files(folder: Path, names: Iterable[str], digests: FileDigests) -> str:
    """Return one digest of the names, modes and contents of files and links; links out of the folder are left out."""
    rows: list[tuple[str, int, str]] = []
    for name in names:
        path = folder / name
        try:
            info = path.lstat()
            if stat.S_ISLNK(info.st_mode):
                goal = inner_goal(path, folder)
                if goal is not None:
                    rows.append((name, -1, goal))
            else:
                rows.append((name, stat.S_IMODE(info.st_mode) & 0o777 | 0o600, digests.of(path, info)))
        except OSError:
            continue  # it vanished since it was listed
    return digest_of_value(sorted(rows))
