"""Remembers the type checker's findings by the digest of what was checked, in one small SQLite file.

The cache only saves time: a file that is broken, locked or not writable is as good as an empty one.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

MAX_ROWS = 20_000
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS checks (key TEXT PRIMARY KEY, findings TEXT NOT NULL, used REAL NOT NULL) WITHOUT ROWID"
)
_CHUNK = 500

Finding = tuple[str, int, int, int, int, str]
"""Code, line, column, end line, end column, message."""


class CheckCache:
    """Findings by key.

    Args:
        folder: Where the file lies; created when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "script-checks.sqlite3"

    def load(self, keys: Sequence[str]) -> dict[str, list[Finding]]:
        """Return what is known about these keys."""
        rows: list[tuple[str, str]] = []
        with contextlib.suppress(sqlite3.Error, OSError), self._open() as database:
            for at in range(0, len(keys), _CHUNK):
                part = keys[at : at + _CHUNK]
                marks = ",".join("?" * len(part))
                rows += database.execute(f"SELECT key, findings FROM checks WHERE key IN ({marks})", part)  # noqa: S608 - marks only
        known = {key: _decoded(text) for key, text in rows}
        return {key: findings for key, findings in known.items() if findings is not None}

    def store(self, findings: Mapping[str, Sequence[Finding]]) -> None:
        """Remember findings; the oldest are dropped beyond 20 000 rows."""
        now = time.time()
        rows = [(key, json.dumps(list(items)), now) for key, items in findings.items()]
        if not rows:
            return
        with contextlib.suppress(sqlite3.Error, OSError), self._open() as database, database:
            database.executemany("INSERT OR REPLACE INTO checks VALUES (?, ?, ?)", rows)
            database.execute(
                "DELETE FROM checks WHERE key NOT IN (SELECT key FROM checks ORDER BY used DESC LIMIT ?)", (MAX_ROWS,)
            )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=2)
        try:
            try:
                database.execute(_SCHEMA)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                # Not a database: start anew.
                database.close()
                self._path.unlink(missing_ok=True)
                database = sqlite3.connect(self._path, timeout=2)
                database.execute(_SCHEMA)
            yield database
        finally:
            database.close()


def _decoded(text: str) -> list[Finding] | None:
    try:
        items = json.loads(text)
        return [
            (str(c), int(line), int(col), int(end), int(end_col), str(m)) for c, line, col, end, end_col, m in items
        ]
    except (ValueError, TypeError):
        return None
