"""The cache's file: results by the digest of what determined them, in `.engine/cache.db` of the project."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from engine.errors import ConfigError
from engine.run.cache.entry import FIGURES, ROW, Entry, NewEntry, checksum_of
from engine.run.cache.insert import chunks, insert, remove
from engine.run.cache.record import Write, content_digest
from engine.run.cache.tables import connect
from engine.sqlite import is_sound, way_out

MAX_BYTES = 1 << 30
MAX_ENTRIES = 100_000
_CHUNK = 500
_TRIM_EVERY = 1.0  # seconds between two looks at the bounds while entries come
_SELECT = f"SELECT {ROW}, {FIGURES} FROM entries"  # noqa: S608 - the names are ours
_OLDEST = "SELECT id, size FROM entries ORDER BY used, id LIMIT ?"
_TOTALS = "SELECT count(*), coalesce(sum(size), 0) FROM entries"
_TOUCH = "UPDATE entries SET used = ?, hits = hits + 1 WHERE id = ?"
_BY_BUNDLE = """SELECT bundle, count(*), sum(hits), sum(hits * (prompt_tokens + completion_tokens))
    FROM entries GROUP BY bundle ORDER BY bundle"""


@dataclass(frozen=True, slots=True)
class BundleStats:
    """What the cache holds of one bundle: entries, how often they were taken, and the tokens that this saved."""

    entries: int
    hits: int
    saved_tokens: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What the cache holds.

    Attributes:
        entries: Number of results.
        size: Bytes of the file.
        bundles: By the bundle's name.
    """

    entries: int = 0
    size: int = 0
    bundles: Mapping[str, BundleStats] = field(default_factory=dict)


class TaskCache:
    """Results of tasks; usable by several processes and threads at once. All methods block.

    Contents are stored once each. The least recently used entries go when a bound is reached. Every method raises a
    ConfigError with the way out where the file cannot be used.

    Args:
        path: The file; made with the first entry.
        max_bytes: Bound of what the entries hold together.
        max_entries: Bound of their number.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES) -> None:
        self.path, self._max_bytes, self._max_entries = path, max_bytes, max_entries
        self._connection: sqlite3.Connection | None = None
        self._trimmed = 0.0
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def find(self, keys: Iterable[str]) -> dict[str, list[Entry]]:
        """Return the entries under each key that has any, the newest first."""
        found: dict[str, list[Entry]] = {}
        for entry in self._select("key", list(keys)):
            found.setdefault(entry.key, []).append(entry)
        return found

    def entries(self, numbers: Iterable[int]) -> list[Entry]:
        """Return entries by their numbers; those that are gone are left out."""
        return self._select("id", list(numbers))

    def near(self, column: str, value: str, limit: int = 50) -> list[Entry]:
        """Return the newest entries of a `bundle`, `node_id`, `task_id` or `place`, or whose `key` begins so."""
        how = {"key": "substr(key, 1, length(?1)) = ?1"}.get(column, f"{column} = ?1")
        with self._using() as db:
            rows = db.execute(f"{_SELECT} WHERE {how} ORDER BY id DESC LIMIT ?2", (value, limit)) if db else ()
            return [Entry(*row) for row in rows]

    def parts(self, scene: str) -> str | None:
        """Return what a scene consists of, as JSON."""
        with self._using() as db:
            row = db.execute("SELECT parts FROM scenes WHERE sha256 = ?", (scene,)).fetchone() if db else None
        return None if row is None else str(row[0])

    def writes(self, entries: Sequence[Entry]) -> dict[int, list[Write]]:
        """Return what each entry left in files, by its number; damaged entries are forgotten and left out."""
        rows: dict[int, list[Write]] = {entry.id: [] for entry in entries}
        damaged: set[int] = set()
        with self._using() as db:
            parts = [db.execute(_writes_of(len(part)), part) for part in chunks(list(rows), _CHUNK)] if db else []
            for number, data, sha256, path, mode, before, added, removed, node in itertools.chain.from_iterable(parts):
                rows[number].append(Write(path, data, mode, before, added, removed, bool(node)))
                if content_digest(data) != sha256:
                    damaged.add(number)
        for entry in entries:
            kept = rows[entry.id]
            if checksum_of(entry.key, entry.reads, entry.source, entry.result, kept) != entry.checksum:
                damaged.add(entry.id)
        if damaged:
            self.forget(damaged)
        return {number: kept for number, kept in rows.items() if number not in damaged}

    def add(self, entries: Sequence[NewEntry]) -> None:
        """Store results, all or none; one of the same key that read the same is replaced."""
        with self._writing() as db:
            for entry in entries:
                insert(db, entry, time.time())
            if time.monotonic() - self._trimmed > _TRIM_EVERY:
                self._trim(db, self._max_bytes, self._max_entries)

    def touch(self, numbers: Iterable[int]) -> None:
        """Note that entries were taken now."""
        now = time.time()
        with self._writing() as db:
            db.executemany(_TOUCH, [(now, number) for number in numbers])

    def forget(self, numbers: Iterable[int]) -> None:
        """Remove entries, and the contents that no other one needs."""
        with self._writing() as db:
            remove(db, list(numbers))

    def prune(self, max_bytes: int | None = None, unused_days: float | None = None) -> int:
        """Remove the least recently used entries.

        Args:
            max_bytes: What the others may hold together; None is the cache's own bound.
            unused_days: Remove also what was not used for so long.

        Returns:
            How many.
        """
        if not self.path.exists():
            return 0
        with self._writing() as db:
            before = db.execute(_TOTALS).fetchone()[0]
            if unused_days is not None:
                since = time.time() - unused_days * 86400
                rows = db.execute("SELECT id FROM entries WHERE used < ?", (since,)).fetchall()
                remove(db, [row[0] for row in rows])
            self._trim(db, self._max_bytes if max_bytes is None else max_bytes, self._max_entries)
            db.execute("DELETE FROM scenes WHERE sha256 NOT IN (SELECT scene FROM entries)")
            after = db.execute(_TOTALS).fetchone()[0]
        self._shrink()
        return int(before - after)

    def clear(self) -> int:
        """Remove the file with everything in it, also a damaged one; return its size in bytes.

        Raises:
            ConfigError: It cannot be removed.
        """
        self.close()
        size = 0
        for suffix in ("", "-wal", "-shm"):
            path = self.path.with_name(self.path.name + suffix)
            try:
                size += path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ConfigError(f"{path} cannot be removed: {error.strerror}; remove it by hand") from error
        return size

    def stats(self) -> Stats:
        """Return what the cache holds."""
        with self._using() as db:
            if db is None:
                return Stats()
            rows = db.execute(_BY_BUNDLE).fetchall()
        bundles = {name: BundleStats(*figures) for name, *figures in rows}
        return Stats(sum(row.entries for row in bundles.values()), self._bytes(), bundles)

    def _bytes(self) -> int:
        paths = (self.path.with_name(self.path.name + suffix) for suffix in ("", "-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())

    def _select(self, column: str, values: Sequence[Any]) -> list[Entry]:
        found: list[Entry] = []
        with self._using() as db:
            if db is None:
                return found
            for part in chunks(values, _CHUNK):
                marks = ",".join("?" * len(part))
                rows = db.execute(f"{_SELECT} WHERE {column} IN ({marks}) ORDER BY id DESC", part)
                found.extend(Entry(*row) for row in rows)
        return found

    def _trim(self, db: sqlite3.Connection, max_bytes: int, max_entries: int) -> None:
        """Remove the least recently used entries until a tenth of the bounds is free; nothing within the bounds."""
        self._trimmed = time.monotonic()
        count, size = db.execute(_TOTALS).fetchone()
        if count <= max_entries and size <= max_bytes:
            return
        doomed: list[int] = []
        for number, bytes_of_it in db.execute(_OLDEST, (count,)):
            if count <= max_entries * 0.9 and size <= max_bytes * 0.9:
                break
            doomed.append(number)
            count, size = count - 1, size - bytes_of_it
        remove(db, doomed)

    def _shrink(self) -> None:
        """Give the space of what was removed back to the file system."""
        with self._using() as db:
            if db is not None:
                db.executescript("PRAGMA incremental_vacuum")  # `execute` ends it after one page
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._using(create=True) as db:
            assert db is not None  # noqa: S101 - it was made
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextlib.contextmanager
    def _using(self, *, create: bool = False) -> Iterator[sqlite3.Connection | None]:
        """Give the connection, or None where there is no file and none is made."""
        with self._lock:
            try:
                if self._connection is None and (create or self.path.exists()):
                    self._connection = connect(self.path, create=True)
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                self.close()
                what = way_out(error) if is_sound(error) else "engine cache clear starts a new one"
                raise ConfigError(f"the cache {self.path} cannot be used: {error}; {what}") from error


def _writes_of(count: int) -> str:
    return f"""
        SELECT w.entry, b.data, b.sha256, w.path, w.mode, w.before, w.added, w.removed, w.node
        FROM writes w LEFT JOIN blobs b ON b.id = w.after WHERE w.entry IN ({",".join("?" * count)}) ORDER BY w.rowid
    """  # noqa: S608 - only question marks
