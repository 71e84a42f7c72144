"""What SQLite's errors mean for the person in front of it: one line that names the file and the way out."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.errors import LogError

_WAYS_OUT = {
    sqlite3.SQLITE_BUSY: "another process has it locked: try again when that is done",
    sqlite3.SQLITE_LOCKED: "another process has it locked: try again when that is done",
    sqlite3.SQLITE_FULL: "free some space on its disk",
    sqlite3.SQLITE_IOERR: "check the free space and the disk",
    sqlite3.SQLITE_READONLY: "check the permissions of the file and its folder",
    sqlite3.SQLITE_PERM: "check the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "check the permissions of the file and its folder",
}
_DAMAGED = "if it is damaged, move it away and a new one is made"
# What may be over in a moment; everything else stays as it is until somebody acts.
_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
}


class FileGoneError(Exception):
    """The file is no longer the one that was opened: what is written to it is lost."""


def log_error(path: Path, what: str, error: Exception, more: str = "") -> LogError:
    """Return the error to raise.

    Args:
        path: The event log.
        what: What it cannot be, such as `read`.
        error: What SQLite said.
        more: What became of the events.
    """
    way_out = _WAYS_OUT.get(code(error), _DAMAGED)
    if isinstance(error, FileGoneError):
        way_out = "leave the folder alone while something runs"
    said = " ".join(str(error).split())
    return LogError("; ".join(filter(None, (f"the event log {path} cannot be {what}: {said}", more, way_out))))


def code(error: Exception) -> int:
    """Return SQLite's primary result code (https://www.sqlite.org/rescode.html); -1 for other errors."""
    return int(getattr(error, "sqlite_errorcode", -1)) & 0xFF


def may_pass(error: Exception) -> bool:
    """Whether the same may work a little later."""
    return code(error) in _PASSING
