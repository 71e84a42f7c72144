"""The tables of the event log, and how a file of an earlier version becomes a current one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.errors import LogError
from engine.events.trouble import log_error
from engine.events.used import TABLE, USED_BEFORE
from engine.sqlite import code, use_wal

WAL_LIMIT = 16 * 2**20
"""Bytes that the write-ahead log keeps between two uses; while a reader holds on to the past it may be longer."""
_NOT_WRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}

# What the events of earlier runs tell of their tasks: who started, and what came of it.
_STARTED_BEFORE = """
    INSERT INTO tasks
    SELECT run_id, task_id, row_number() OVER (PARTITION BY run_id ORDER BY seq) - 1,
        json_extract(data, '$.bundle'), '', json_extract(data, '$.node_id'), json_extract(data, '$.node'), '',
        json_extract(data, '$.file'), json_extract(data, '$.line'),
        'running', '', NULL, 1, 0, 0, 0, 0, 0
    FROM events WHERE type = 'task:started' AND json_valid(data)
    ON CONFLICT (run_id, task_id) DO NOTHING
"""
_FINISHED_BEFORE = """
    INSERT INTO tasks
    SELECT run_id, task_id, -1,
        json_extract(data, '$.bundle'), '', json_extract(data, '$.node_id'), json_extract(data, '$.node'), '',
        json_extract(data, '$.file'), json_extract(data, '$.line'),
        json_extract(data, '$.outcome'), json_extract(data, '$.reason'), json_extract(data, '$.error'), 1,
        json_extract(data, '$.seconds'), json_extract(data, '$.usage.prompt_tokens'),
        json_extract(data, '$.usage.completion_tokens'),
        json_array_length(data, '$.changed_files'), 0
    FROM events WHERE type = 'task:finished' AND json_valid(data)
    ON CONFLICT (run_id, task_id) DO UPDATE SET state = excluded.state, reason = excluded.reason,
        error = excluded.error, seconds = excluded.seconds, prompt_tokens = excluded.prompt_tokens,
        completion_tokens = excluded.completion_tokens, changes = excluded.changes
"""

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
        _STARTED_BEFORE,
        _FINISHED_BEFORE,
        "DROP INDEX runs_by_start",
    ),
    (TABLE, USED_BEFORE),
)
"""The statements that lead from version N to N + 1, at place N; the file's version is its `user_version`."""


def connect(path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS, *, timeout: float = 5) -> sqlite3.Connection:
    """Open an event log for writing, in WAL mode, made when missing, and bring it to the current version.

    The connection may be handed from thread to thread; statements are not wrapped in transactions by themselves.

    Args:
        path: The file.
        migrations: The versions.
        timeout: How long a statement waits for a lock, in seconds.

    Raises:
        LogError: The file is damaged, locked, cannot be opened, or is of a newer engine.
    """
    with _opened(path, "mode=rwc", timeout) as connection:
        if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that space is given back in small steps
        if not use_wal(connection, timeout):
            raise LogError(f"the event log {path} cannot use SQLite's WAL mode here; keep the project on a local disk")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        _migrate(connection, path, migrations)
    return connection


def connect_reader(path: Path, *, timeout: float = 5) -> sqlite3.Connection:
    """Open an event log that exists for reading, also where nothing can be written; an earlier version is migrated.

    Raises:
        LogError: The file is damaged, locked, of a newer engine, or cannot be read without writing beside it.
    """
    refused: LogError | None = None
    for mode in ("mode=rw", "mode=ro", "immutable=1"):
        if mode == "immutable=1" and _has_wal(path):
            break  # it would be read without its newest events, and perhaps in the middle of a write
        try:
            with _opened(path, mode, timeout) as connection:
                _migrate(connection, path, MIGRATIONS)
        except LogError as error:
            if not isinstance(error.__cause__, sqlite3.Error) or code(error.__cause__) not in _NOT_WRITABLE:
                raise
            refused = error
        else:
            return connection
    raise LogError(
        f"the event log {path} cannot be read where nothing can be written; copy its folder to another place and name "
        "that with --project"
    ) from refused


def _has_wal(path: Path) -> bool:
    wal = path.with_name(f"{path.name}-wal")
    return wal.exists() and wal.stat().st_size > 0


@contextlib.contextmanager
def _opened(path: Path, mode: str, timeout: float) -> Iterator[sqlite3.Connection]:
    """Open a file and let the caller prepare the connection; it is closed when that fails."""
    try:
        uri = f"{path.absolute().as_uri()}?{mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise log_error(path, "opened", error) from error
    try:
        connection.execute("PRAGMA trusted_schema = OFF")  # the file may come with a cloned project
        yield connection
    except (sqlite3.Error, UnicodeDecodeError) as error:
        connection.close()
        raise log_error(path, "used", error) from error
    except BaseException:
        connection.close()
        raise


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
        raise LogError(
            f"the event log {path} has version {version}, this engine knows up to {newest}; "
            "use the engine that wrote it or move it away"
        )
    return version
