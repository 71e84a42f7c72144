"""What every SQLite file of the engine needs: WAL mode in spite of a race, and the way out of SQLite's errors."""

from __future__ import annotations

import random
import sqlite3
import time

_DAMAGED = "if it is damaged, move it away and a new one is made"
_LOCKED = "another process has it locked: try again when that is done"
_PERMISSIONS = "check the permissions of the file and its folder"
_WAYS_OUT = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_FULL: "free some space on its disk",
    sqlite3.SQLITE_IOERR: "check the free space and the disk",
    sqlite3.SQLITE_READONLY: _PERMISSIONS,
    sqlite3.SQLITE_PERM: _PERMISSIONS,
    sqlite3.SQLITE_CANTOPEN: _PERMISSIONS,
}
_PAUSE = 0.02  # seconds at most between two attempts


def code(error: Exception) -> int:
    """Return SQLite's primary result code (https://www.sqlite.org/rescode.html); -1 for other errors."""
    return int(getattr(error, "sqlite_errorcode", -1)) & 0xFF


def way_out(error: Exception) -> str:
    """Return what the person in front of an error can do about it."""
    return _WAYS_OUT.get(code(error), _DAMAGED)


def is_sound(error: Exception) -> bool:
    """Whether an error says nothing against the file: it is locked, or its disk is full."""
    return _WAYS_OUT.get(code(error)) == _LOCKED or code(error) == sqlite3.SQLITE_FULL


def use_wal(connection: sqlite3.Connection, patience: float) -> bool:
    """Put a database into WAL mode; return whether it is in it now.

    Where several processes open a new file at once, each holds a lock that the others wait for. SQLite then gives up
    at once, whatever timeout the connection has (https://www.sqlite.org/c3ref/busy_handler.html), so it is asked again.

    Args:
        connection: The connection; it is in no transaction.
        patience: Seconds to go on asking.

    Raises:
        sqlite3.Error: The file is still locked, or cannot be used.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return bool(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal")
        except sqlite3.OperationalError as error:
            if code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(random.uniform(0, _PAUSE))  # noqa: S311 - so that those who wait don't meet again
