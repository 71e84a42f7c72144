"""The tables of `.engine/changes.db` and how older ones become newer."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.errors import ConfigError
from engine.sqlite import use_wal, way_out

_PATIENCE = 30.0  # seconds to wait for another process

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
    """
    CREATE TABLE changes_2 (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL,
        task_id TEXT NOT NULL,
        node TEXT NOT NULL,
        path TEXT NOT NULL,
        before TEXT,
        after TEXT,
        mode INTEGER,
        span_start INTEGER,
        span_end INTEGER,
        added INTEGER,
        removed INTEGER,
        checks TEXT NOT NULL DEFAULT '[]',
        passed INTEGER NOT NULL DEFAULT 1,
        facts TEXT NOT NULL DEFAULT '{}',
        state TEXT NOT NULL CHECK (state IN ('pending', 'accepted', 'rejected', 'conflict')),
        reason TEXT NOT NULL DEFAULT '',
        offered_at REAL NOT NULL,
        decided_at REAL,
        edited TEXT,
        in_file INTEGER NOT NULL DEFAULT 0,
        intent TEXT,
        intent_alone INTEGER NOT NULL DEFAULT 0,
        intent_undo INTEGER NOT NULL DEFAULT 0,
        intent_mixed INTEGER NOT NULL DEFAULT 0,
        prior TEXT,
        result TEXT,
        untold TEXT
    ) STRICT;
    INSERT INTO changes_2 (id, run_id, task_id, node, path, before, after, mode, state, reason, offered_at, decided_at,
            in_file, intent, intent_alone)
        SELECT id, run_id, task_id, node, path, before, after, mode, state, reason, offered_at, decided_at,
            in_file, intent, intent_alone FROM changes;
    DROP TABLE changes;
    ALTER TABLE changes_2 RENAME TO changes;
    CREATE INDEX changes_of_run ON changes (run_id, task_id, path);
    CREATE INDEX changes_of_file ON changes (path, in_file);
    CREATE INDEX changes_with_intent ON changes (intent) WHERE intent IS NOT NULL;
    CREATE INDEX changes_untold ON changes (run_id) WHERE untold IS NOT NULL;
    """,
)
"""One script per version. Contents are named by their SHA-256, '-' for no file.

`in_file`: the accepted change is part of what the file is now. `intent`: what is about to be written; `intent_mixed`:
it holds edits of a person, too. `prior` and `result`: the file before and after the change was accepted. `edited`: what
the model had offered, where a person edited it. `untold`: a decision that the run's event log has not got yet. `added`,
`removed`: NULL where nobody counted.
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, in WAL mode and durable at each commit, with the tables of this version.

    The connection may be used by one thread at a time.

    Raises:
        ConfigError: A newer version of the engine wrote it, or it is no database.
    """
    try:
        connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    connection.row_factory = sqlite3.Row
    try:
        use_wal(connection, _PATIENCE)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        _migrate(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise unusable(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def unusable(path: Path, error: Exception) -> ConfigError:
    """Return what a person is told when the database, or its folder, does not do what it should."""
    return ConfigError(f"{path} cannot be used: {error}; {way_out(error)}")


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
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
