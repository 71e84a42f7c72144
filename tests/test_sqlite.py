"""SQLite files that several open at once, and what its errors mean."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.events import schema as log_schema
from engine.run import claim
from engine.run.cache import TaskCache
from engine.run.cache import store as cache_store
from engine.run.cache import tables as cache_tables
from engine.sqlite import use_wal, way_out
from engine.workspace import schema as change_schema


@pytest.mark.parametrize(
    "connect",
    [log_schema.connect, change_schema.connect, partial(cache_tables.connect, create=True)],
    ids=["event log", "changes", "cache"],
)
def test_several_open_a_new_file_at_once(connect: Callable[[Path], sqlite3.Connection], tmp_path: Path) -> None:
    together = threading.Barrier(6)

    def opened(path: Path) -> str:
        together.wait()
        with closing(connect(path)) as connection:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])

    with ThreadPoolExecutor(6) as pool:
        for number in range(40):
            assert list(pool.map(opened, [tmp_path / f"{number}.db"] * 6)) == ["wal"] * 6


def test_wal_waits_for_another_that_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as holder:
        holder.execute("CREATE TABLE t (x)")
        holder.execute("BEGIN EXCLUSIVE")
        with closing(sqlite3.connect(path, timeout=0)) as connection:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                use_wal(connection, patience=0)
            threading.Timer(0.1, lambda: holder.execute("COMMIT")).start()
            assert use_wal(connection, patience=30)


def test_a_locked_file_is_not_to_be_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_schema, "_PATIENCE", 0.05)
    path = tmp_path / "changes.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        holder.execute("CREATE TABLE t (x)")
        with pytest.raises(
            ConfigError, match=r"changes\.db cannot be used: .*another process has it locked: try again"
        ):
            change_schema.connect(path)


def test_a_locked_cache_is_not_to_be_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_store, "connect", partial(cache_tables.connect, patience=0.05))
    cache_tables.connect(tmp_path / "cache.db", create=True).close()
    with (
        closing(sqlite3.connect(tmp_path / "cache.db", isolation_level=None)) as holder,
        closing(TaskCache(tmp_path / "cache.db")) as cache,
    ):
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match=r"cannot be used: database is locked; another process has it locked"):
            cache.prune(max_bytes=0)


def test_a_locked_log_needs_no_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "connect", lambda path: sqlite3.connect(path, timeout=0.05, isolation_level=None))
    log_schema.connect(tmp_path / "events.db").close()
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        claimed = claim.claimed(tmp_path / "events.db", "r")
        with pytest.raises(ConfigError, match="database is locked; another process has it locked: try again"), claimed:
            pass


def test_a_damaged_file_is(tmp_path: Path) -> None:
    path = tmp_path / "changes.db"
    path.write_bytes(b"no database, whatever it says" * 100)
    with pytest.raises(ConfigError, match="if it is damaged, move it away"):
        change_schema.connect(path)
    assert way_out(ValueError()) == "if it is damaged, move it away and a new one is made"
