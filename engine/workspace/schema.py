"""The tables of `.engine/changes.db` and how older ones become newer."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.errors import ConfigError

_VERSIONS = (
    """
    CREATE TABLE blobs (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT;
    CREATE TABLE changes (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL,
        task_id TEXT NOT NULL,
        node TEXT NOT NULL,
        path TEXT NOT NULL,
        before TEXT REFERENCES blobs (sha256),
        after TEXT REFERENCES blobs (sha256),
        mode INTEGER,
        state TEXT NOT NULL CHECK (state IN ('pending', 'accepted', 'rejected', 'conflict')),
        reason TEXT NOT NULL DEFAULT '',
        offered_at REAL NOT NULL,
        decided_at REAL,
        in_file INTEGER NOT NULL DEFAULT 0,
        intent TEXT,
        intent_alone INTEGER NOT NULL DEFAULT 0,
        UNIQUE (run_id, task_id, path)
    ) STRICT;
    CREATE INDEX changes_of_file ON changes (path, in_file);
    CREATE INDEX changes_with_intent ON changes (intent) WHERE intent IS NOT NULL;
    """,
)
"""One script per version. `in_file`: the accepted change is part of what the file is now. `intent`: the SHA-256 of what
is about to be written ('-' for a deletion)."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, in WAL mode and durable at each commit, with the tables of this version.

    The connection may be used by one thread at a time.

    Raises:
        ConfigError: A newer version of the engine wrote it, or it is no database.
    """
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        _migrate(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ConfigError(f"{path} cannot be used: {error}; move it away to start with an empty one") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    if version > len(_VERSIONS):
        raise ConfigError(f"{path} was written by a newer version of the engine; update the engine to read it")
    if version == len(_VERSIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for script in _VERSIONS[_version(connection) :]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(_VERSIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
