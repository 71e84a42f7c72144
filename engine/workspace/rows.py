"""Rows of `.engine/changes.db` as values."""

from __future__ import annotations

import json
import sqlite3
from hashlib import sha256
from typing import Any

from engine.workspace.change import Change
from engine.workspace.offered import ChangeHead, OfferedChange

DELETED = "-"
"""No file, in place of a content's hash."""

_NAMES = """
    c.id, c.run_id, c.task_id, c.node, c.path, c.before, c.after, c.mode, c.span_start, c.span_end, c.added, c.removed,
    c.checks, c.passed, c.facts, c.state, c.reason, c.offered_at, c.decided_at, c.edited, c.intent, c.intent_alone,
    c.intent_undo, c.intent_mixed, c.prior, c.result, c.untold
"""
HEAD = f"SELECT {_NAMES} FROM changes c "  # noqa: S608 - constant text
WHOLE = f"""
    SELECT {_NAMES}, b.data AS before_data, a.data AS after_data FROM changes c
    LEFT JOIN blobs b ON b.sha256 = c.before LEFT JOIN blobs a ON a.sha256 = c.after
"""  # noqa: S608 - constant text


def head_of(db: sqlite3.Connection, row: sqlite3.Row) -> ChangeHead:
    """Return the head of a change; one whose lines nobody counted is counted now."""
    added, removed = row["added"], row["removed"]
    if added is None:
        added, removed = counts(Change(row["path"], content(db, row["before"]), content(db, row["after"])))
    return ChangeHead(**_shared(row), added=added, removed=removed)


def whole_of(row: sqlite3.Row) -> OfferedChange:
    """Return a change."""
    span = None if row["span_start"] is None else (row["span_start"], row["span_end"])
    change = Change(row["path"], row["before_data"], row["after_data"], row["mode"], span)
    added, removed = counts(change) if row["added"] is None else (row["added"], row["removed"])
    return OfferedChange(
        **_shared(row),
        added=added,
        removed=removed,
        change=change,
        intent=row["intent"],
        intent_alone=bool(row["intent_alone"]),
        intent_undo=bool(row["intent_undo"]),
        intent_mixed=bool(row["intent_mixed"]),
        prior=row["prior"],
        result=row["result"],
    )


def counts(change: Change) -> tuple[int, int]:
    """Return the numbers of added and removed lines."""
    return change.added, change.removed


def digest(content: bytes | None) -> str | None:
    """Return the SHA-256 of a content."""
    return None if content is None else sha256(content).hexdigest()


def put(db: sqlite3.Connection, content: bytes | None) -> str | None:
    """Store a content and return its hash."""
    name = digest(content)
    if name is not None:
        db.execute("INSERT OR IGNORE INTO blobs (sha256, data) VALUES (?, ?)", (name, content))
    return name


def dumped(value: object) -> str:
    """Return a value as JSON; lone surrogates, which SQLite cannot store, stay spelt out."""
    return json.dumps(value, separators=(",", ":"))


def _shared(row: sqlite3.Row) -> dict[str, Any]:
    same = ("id", "run_id", "task_id", "node", "path", "state", "reason", "offered_at", "decided_at")
    kind = "create" if row["before"] is None else "delete" if row["after"] is None else "edit"
    return {
        **{name: row[name] for name in same},
        "kind": kind,
        "checks": tuple(json.loads(row["checks"])),
        "passed": bool(row["passed"]),
        "facts": json.loads(row["facts"]),
        "edited": row["edited"] is not None,
    }


def content(db: sqlite3.Connection, name: str | None) -> bytes | None:
    """Return a stored content by its hash; None for no file."""
    if name in (None, DELETED):
        return None
    found = db.execute("SELECT data FROM blobs WHERE sha256 = ?", (name,)).fetchone()
    return found[0] if found else None
