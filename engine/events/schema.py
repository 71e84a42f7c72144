"""The tables of the event log, and how a file of an earlier version becomes a current one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from engine.errors import ConfigError

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE runs (
            run_id TEXT PRIMARY KEY, started REAL NOT NULL, ended REAL, status TEXT NOT NULL, summary TEXT NOT NULL,
            pid INTEGER NOT NULL, born TEXT NOT NULL, place TEXT NOT NULL
        )""",
        """CREATE TABLE events (
            run_id TEXT NOT NULL, seq INTEGER NOT NULL, time REAL NOT NULL, type TEXT NOT NULL, task_id TEXT NOT NULL,
            data TEXT NOT NULL, PRIMARY KEY (run_id, seq)
        )""",
        "CREATE INDEX runs_by_start ON runs (started)",
    ),
    (
        """CREATE TABLE tasks (
            run_id TEXT NOT NULL, task_id TEXT NOT NULL, place INTEGER NOT NULL, bundle TEXT NOT NULL,
            operation TEXT NOT NULL, node_id TEXT NOT NULL, node TEXT NOT NULL, type TEXT NOT NULL, file TEXT NOT NULL,
            line INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, error TEXT, attempts INTEGER NOT NULL,
            seconds REAL NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
            changes INTEGER NOT NULL, cached INTEGER NOT NULL, PRIMARY KEY (run_id, task_id)
        ) WITHOUT ROWID""",
    ),
)
"""The statements that lead from version N to N + 1, at place N; the file's version is its `user_version`."""


def connect(path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS, *, create: bool = True) -> sqlite3.Connection:
    """Open an event log in WAL mode and bring it to the current version.

    The connection may be handed from thread to thread; statements are not wrapped in transactions by themselves.

    Raises:
        ConfigError: The file is damaged, cannot be opened, or is of a newer engine.
    """
    mode = "rwc" if create else "rw"
    try:
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise ConfigError(f"the event log {path} cannot be opened: {error}; check the folder's permissions") from error
    try:
        _prepare(connection, path)
        _migrate(connection, path, migrations)
    except sqlite3.Error as error:
        connection.close()
        raise ConfigError(
            f"the event log {path} cannot be used: {error}; if it is damaged, move it away and a new one is made"
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")  # the file may come with a cloned project
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise ConfigError(f"the event log {path} cannot use SQLite's WAL mode here; keep the project on a local disk")
    connection.execute("PRAGMA synchronous = NORMAL")


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]]) -> None:
    if _version(connection, path, len(migrations)) == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster: the version counts only under the lock.
        for step in migrations[_version(connection, path, len(migrations)) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if not 0 <= version <= newest:
        raise ConfigError(
            f"the event log {path} has version {version}, this engine knows up to {newest}; "
            "use the engine that wrote it or move it away"
        )
    return version
