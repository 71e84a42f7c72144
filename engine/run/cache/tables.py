"""The tables of `.engine/cache.db`. A file of another version is made anew: everything in it can be had again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.sqlite import use_wal

VERSION = 1
_TABLES = """
CREATE TABLE blobs (id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, data BLOB NOT NULL) STRICT;
CREATE TABLE scenes (sha256 TEXT PRIMARY KEY, parts TEXT NOT NULL) STRICT;
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    variant TEXT NOT NULL,
    scene TEXT NOT NULL,
    bundle TEXT NOT NULL,
    task_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    place TEXT NOT NULL,
    node TEXT NOT NULL,
    note TEXT NOT NULL,
    reads TEXT NOT NULL,
    source TEXT,
    result TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL,
    checksum TEXT NOT NULL,
    size INTEGER NOT NULL,
    stored REAL NOT NULL,
    used REAL NOT NULL,
    hits INTEGER NOT NULL DEFAULT 0,
    UNIQUE (key, variant)
) STRICT;
CREATE INDEX entries_by_use ON entries (used, size);
CREATE INDEX entries_by_node ON entries (bundle, node_id);
CREATE INDEX entries_by_task ON entries (task_id);
CREATE TABLE writes (
    entry INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    after INTEGER REFERENCES blobs (id),
    mode INTEGER,
    before TEXT,
    added INTEGER NOT NULL,
    removed INTEGER NOT NULL,
    node INTEGER NOT NULL
) STRICT;
CREATE INDEX writes_by_entry ON writes (entry);
CREATE INDEX writes_by_blob ON writes (after)
"""


def connect(path: Path, *, create: bool, patience: float = 10.0) -> sqlite3.Connection:
    """Open the database; several processes may at once.

    Args:
        path: The file.
        create: Make it, with its tables, where it is missing or of another version.
        patience: Seconds to wait for another process that writes.

    Raises:
        sqlite3.Error: It is no database, or cannot be opened.
        OSError: Its folder cannot be made.
    """
    if create:
        _make_folder(path.parent)
    mode = "rwc" if create else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _prepare(connection, create=create, patience=patience)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, *, create: bool, patience: float) -> None:
    if create and not _version(connection):
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # before the first table; what is evicted frees the file
    connection.execute("PRAGMA trusted_schema=OFF")  # the file may have come with somebody's project
    use_wal(connection, patience)
    connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may lose the last entries, and nothing else
    connection.execute("PRAGMA foreign_keys=ON")
    if _version(connection) == VERSION:
        return
    if not create:
        raise sqlite3.DatabaseError("it is of another version of the engine")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _version(connection) != VERSION:
            _make_tables(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _make_tables(connection: sqlite3.Connection) -> None:
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    for (name,) in sorted(names, reverse=True):  # what refers to others first
        quoted = name.replace('"', '""')
        connection.execute(f'DROP TABLE "{quoted}"')
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version={VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _make_folder(folder: Path) -> None:
    """Make the folder; a new `.engine` hides itself from git."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if folder.name == ".engine" and not ignore.exists():
        ignore.write_text("*\n", "ascii")
