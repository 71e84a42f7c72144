"""Findings of bundles that have not changed: one SQLite file in the user's cache; losing it costs only time."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import astuple
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engine.diagnostics import CODES, Diagnostic, Edit, Span
from engine.files import cache_folder

FORMAT = 1
MAX_ROWS = 20_000
_LOG = logging.getLogger(__name__)
# What findings depend on beside the bundle itself.
_DISTRIBUTIONS = ("bundle-engine", "google-re2", "pydantic-monty", "jinja2", "jsonschema", "tree-sitter", "xgrammar")


@cache
def engine_mark() -> str:
    """Return a mark of everything that findings depend on beside the bundle: versions, and the engine's own files."""
    parts = [str(FORMAT)]
    for name in _DISTRIBUTIONS:
        try:
            parts.append(f"{name}={version(name)}")
        except PackageNotFoundError:
            parts.append(f"{name}=")
    root = Path(__file__).parent.parent
    for room in ("bundle", "diagnostics", "grammar", "manifest", "models", "prompts", "tools"):
        for path in sorted((root / room).rglob("*.py")):
            status = path.stat()
            parts.append(f"{path.name}:{status.st_mtime_ns}:{status.st_size}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class FindingsCache:
    """Findings by key; a broken or locked file counts as an empty cache.

    Args:
        folder: Where the file lies; made when needed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or cache_folder()) / f"findings-{FORMAT}.db"

    def load(self, keys: Iterable[str]) -> dict[str, tuple[Diagnostic, ...]]:
        """Return the findings of those keys that are known."""
        wanted = list(keys)
        if not self._path.exists():
            return {}
        try:
            with closing(sqlite3.connect(self._path, timeout=1)) as database:
                return dict(_load(database, wanted))
        except (sqlite3.Error, ValueError, TypeError, KeyError, IndexError) as error:
            self._discard(error)
            return {}

    def store(self, findings: Mapping[str, Sequence[Diagnostic]]) -> None:
        """Add findings; the oldest rows make room."""
        if not findings:
            return
        rows = [(key, json.dumps([_pack(item) for item in items])) for key, items in findings.items()]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=1)) as database, database:
                database.execute("CREATE TABLE IF NOT EXISTS findings (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
                database.executemany("INSERT OR REPLACE INTO findings VALUES (?, ?)", rows)
                oldest = "SELECT rowid FROM findings ORDER BY rowid DESC LIMIT -1 OFFSET ?"
                database.execute(f"DELETE FROM findings WHERE rowid IN ({oldest})", (MAX_ROWS,))  # noqa: S608 - a constant
        except (OSError, sqlite3.Error) as error:
            self._discard(error)

    def _discard(self, error: Exception) -> None:
        _LOG.debug("the cache %s is not usable: %s", self._path, error)
        if not isinstance(error, (sqlite3.OperationalError, OSError)):
            with suppress(OSError):
                self._path.unlink()


class RecentFindings(FindingsCache):
    """Findings that also stay in memory, for a process that looks for the same again and again.

    Args:
        folder: Where the file lies; made when needed.
        on_disk: Whether there is a file at all.
    """

    def __init__(self, folder: Path | None = None, *, on_disk: bool = True) -> None:
        super().__init__(folder)
        self._on_disk = on_disk
        self._recent: OrderedDict[str, tuple[Diagnostic, ...]] = OrderedDict()

    def load(self, keys: Iterable[str]) -> dict[str, tuple[Diagnostic, ...]]:
        """Return the findings of those keys that are known."""
        wanted = list(keys)
        found = {key: self._recent[key] for key in wanted if key in self._recent}
        missing = [key for key in wanted if key not in found]
        if missing and self._on_disk:
            read = super().load(missing)
            self._remember(read)
            found |= read
        return found

    def store(self, findings: Mapping[str, Sequence[Diagnostic]]) -> None:
        """Add findings; the oldest rows make room."""
        self._remember({key: tuple(items) for key, items in findings.items()})
        if self._on_disk:
            super().store(findings)

    def _remember(self, findings: Mapping[str, tuple[Diagnostic, ...]]) -> None:
        self._recent.update(findings)
        while len(self._recent) > MAX_ROWS:
            self._recent.popitem(last=False)


def _load(database: sqlite3.Connection, wanted: list[str]) -> Iterable[tuple[str, tuple[Diagnostic, ...]]]:
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        marks = ",".join("?" * len(part))
        query = f"SELECT key, value FROM findings WHERE key IN ({marks})"  # noqa: S608 - only question marks
        for key, value in database.execute(query, part):
            yield key, tuple(_unpack(item) for item in json.loads(value))


def _pack(item: Diagnostic) -> list[Any]:
    fix = [list(astuple(item.fix.span)), item.fix.text] if item.fix else None
    return [item.code, item.message, list(astuple(item.span)), item.help, fix]


def _unpack(item: list[Any]) -> Diagnostic:
    code, message, span, help_text, fix = item
    if code not in CODES:
        raise KeyError(code)
    return Diagnostic(code, message, Span(*span), help_text, Edit(Span(*fix[0]), fix[1]) if fix else None)
