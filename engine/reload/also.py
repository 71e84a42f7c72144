"""Further files whose changes are told beside those of bundles."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from engine.reload.settling import Settling

_MAX_READ = 16 * 1024 * 1024


class Also:
    """Files by real path, and what was in them.

    Args:
        files: The files as the user typed them; those that do not exist are waited for.
    """

    def __init__(self, files: Iterable[str | Path]) -> None:
        self._marks = {str(file): _mark(file) for file in files}

    def look(self, touched: Collection[str] | None, settling: Settling, due: Collection[str], now: float) -> list[str]:
        """Return the files whose contents changed; one that is gone waits whether it comes back."""
        changed = []
        for file, before in self._marks.items():
            if touched is not None and file not in due and os.path.realpath(file) not in touched:
                continue
            mark = _mark(file)
            if mark == before:
                settling.settle(file)
            elif mark or file in due or not settling.wait(file, now):
                settling.settle(file)
                self._marks[file] = mark
                changed.append(Path(file).as_posix())
        return changed


def _mark(file: str | Path) -> str:
    """Return a mark of a file's content; empty for one that is not there or cannot be read."""
    try:
        status = Path(file).stat()
        if status.st_size > _MAX_READ:
            return f"{status.st_mtime_ns} {status.st_size}"
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return ""
