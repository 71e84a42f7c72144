"""The change store: what tasks offered and what was decided, in `.engine/changes.db` of the project."""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from engine.files import atomic_write
from engine.workspace.change import Change
from engine.workspace.schema import connect

State = Literal["pending", "accepted", "rejected", "conflict"]
DELETED = "-"
"""The intent to delete a file, in place of a content's hash."""

_COLUMNS = """
    SELECT c.id, c.run_id, c.task_id, c.node, c.path, b.data, a.data, c.mode,
        c.state, c.reason, c.offered_at, c.decided_at, c.intent, c.intent_alone
    FROM changes c LEFT JOIN blobs b ON b.sha256 = c.before LEFT JOIN blobs a ON a.sha256 = c.after
"""


@dataclass(frozen=True, slots=True)
class OfferedChange:
    """A change in the store.

    Attributes:
        id: Its number; later offers have greater ones.
        run_id: The run.
        task_id: The task.
        node: The node that the task worked on, `file::name`.
        change: The change itself.
        state: pending, accepted, rejected, or conflict (it collided with an accepted one, and still waits).
        reason: Why it is in this state.
        offered_at: Seconds since 1970.
        decided_at: Seconds since 1970; None while it was never decided on.
        intent: The hash of what a process began to write for it, when that was not settled.
        intent_alone: Whether the file then held this change only.
    """

    id: int
    run_id: str
    task_id: str
    node: str
    change: Change
    state: State
    reason: str
    offered_at: float
    decided_at: float | None
    intent: str | None
    intent_alone: bool


class ChangeStore:
    """The offered changes of a project; usable by several processes and threads at once. All methods block.

    Contents are stored once each. The file grows with every run until `prune` is called. `close()` closes the database;
    so does the end of the object.

    Args:
        project_root: The project's root; `.engine/` is made in it, with a .gitignore that hides it from git.
    """

    def __init__(self, project_root: Path) -> None:
        self._folder = Path(project_root) / ".engine"
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / ".gitignore").exists():
            atomic_write(self._folder / ".gitignore", "*\n")
        self._path = self._folder / "changes.db"
        self._db = connect(self._path)
        self._mutex = threading.RLock()
        self.close = weakref.finalize(self, self._db.close)

    def offer(self, run_id: str, task_id: str, node: str, changes: Iterable[Change]) -> None:
        """Store a task's changes as pending, all or none; they replace what the task offered before and still waits.

        Args:
            run_id: The run.
            task_id: The task.
            node: The node that the task worked on, for people.
            changes: The changes.
        """
        now = time.time()
        with self._connected() as db, _transaction(db):
            db.execute(
                "DELETE FROM changes WHERE run_id = ? AND task_id = ? AND state IN ('pending', 'conflict')",
                (run_id, task_id),
            )
            for change in changes:
                db.execute(
                    "INSERT OR REPLACE INTO changes"
                    " (run_id, task_id, node, path, before, after, mode, state, offered_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', ?)",
                    (
                        run_id,
                        task_id,
                        node,
                        change.path,
                        _put(db, change.before),
                        _put(db, change.after),
                        change.mode,
                        now,
                    ),
                )

    def list(self, run_id: str, task_id: str | None = None, state: State | None = None) -> list[OfferedChange]:
        """Return a run's changes in the order of their offers."""
        where, values = "WHERE c.run_id = ?", [run_id]
        for column, value in (("task_id", task_id), ("state", state)):
            if value is not None:
                where += f" AND c.{column} = ?"
                values.append(value)
        return self._rows(f"{where} ORDER BY c.id", values)

    def in_file(self, path: str, before: bytes | None) -> Sequence[OfferedChange]:
        """Return the accepted changes of a file, from one starting content, that the file holds."""
        return self._rows("WHERE c.path = ? AND c.before IS ? AND c.in_file", (path, _hash(before)))

    def intents(self) -> Sequence[OfferedChange]:
        """Return the changes whose write was begun and not settled."""
        return self._rows("WHERE c.intent IS NOT NULL ORDER BY c.id", ())

    def intend(self, row: OfferedChange, result: bytes | None, *, alone: bool) -> None:
        """Record durably what is about to be written."""
        with self._connected() as db:
            db.execute(
                "UPDATE changes SET intent = ?, intent_alone = ? WHERE id = ?",
                (_hash(result) or DELETED, alone, row.id),
            )

    def settle(self, row: OfferedChange, state: State, reason: str = "", *, alone: bool = False) -> None:
        """Record a decision; an accepted change that is `alone` in the file takes the place of all others."""
        with self._connected() as db, _transaction(db):
            if state == "accepted" and alone:
                db.execute("UPDATE changes SET in_file = 0 WHERE path = ?", (row.change.path,))
            db.execute(
                "UPDATE changes SET state = ?, reason = ?, decided_at = ?, in_file = ?, intent = NULL WHERE id = ?",
                (state, reason, time.time(), state == "accepted", row.id),
            )

    def forget_intent(self, row: OfferedChange) -> None:
        """Record that a begun write never happened."""
        with self._connected() as db:
            db.execute("UPDATE changes SET intent = NULL WHERE id = ?", (row.id,))

    def prune(self, keep_runs: int = 200) -> int:
        """Forget the decided changes of all but the newest runs, and contents that nothing needs; returns how many.

        Changes that wait for a decision are kept.
        """
        with self._connected() as db, _transaction(db):
            count = db.execute(
                "DELETE FROM changes WHERE state IN ('accepted', 'rejected') AND run_id NOT IN"
                " (SELECT run_id FROM changes GROUP BY run_id ORDER BY max(id) DESC LIMIT ?)",
                (keep_runs,),
            ).rowcount
            db.execute(
                "DELETE FROM blobs WHERE sha256 NOT IN (SELECT before FROM changes WHERE before IS NOT NULL"
                " UNION SELECT after FROM changes WHERE after IS NOT NULL)"
            )
        return count

    @contextlib.contextmanager
    def deciding(self) -> Iterator[None]:
        """Hold the project's only permit to decide on changes; waits for others, and ends with its process."""
        descriptor = os.open(self._folder / "decide.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._mutex:
            yield self._db

    def _rows(self, where: str, values: Iterable[str | None]) -> builtins.list[OfferedChange]:
        with self._connected() as db:
            rows = db.execute(_COLUMNS + where, tuple(values)).fetchall()
        return [_offered(*row) for row in rows]


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _offered(*row: Any) -> OfferedChange:
    number, run_id, task_id, node, path, before, after, mode, state, reason, offered_at, decided_at, intent, alone = row
    change = Change(path, before, after, mode)
    return OfferedChange(
        number, run_id, task_id, node, change, state, reason, offered_at, decided_at, intent, bool(alone)
    )


def _hash(content: bytes | None) -> str | None:
    return None if content is None else sha256(content).hexdigest()


def _contents(db: sqlite3.Connection, change: Change) -> tuple[str | None, str | None]:
    return _put(db, change.before), _put(db, change.after)


def _put(db: sqlite3.Connection, content: bytes | None) -> str | None:
    """Store a content and return its hash."""
    digest = _hash(content)
    if digest is not None:
        db.execute("INSERT OR IGNORE INTO blobs (sha256, data) VALUES (?, ?)", (digest, content))
    return digest
