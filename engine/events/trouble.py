"""What SQLite's errors mean for the person in front of it: one line that names the file and the way out."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.errors import LogError
from engine.sqlite import code, way_out

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
    out = "leave the folder alone while something runs" if isinstance(error, FileGoneError) else way_out(error)
    said = " ".join(str(error).split())
    return LogError("; ".join(filter(None, (f"the event log {path} cannot be {what}: {said}", more, out))))


def may_pass(error: Exception) -> bool:
    """Whether the same may work a little later."""
    return code(error) in _PASSING
