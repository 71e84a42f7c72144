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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.files import atomic_write
from engine.workspace.change import Change
from engine.workspace.offered import ChangeHead, Intent, Offer, OfferedChange, State
from engine.workspace.rows import DELETED, HEAD, WHOLE, content, counts, digest, dumped, head_of, put, whole_of
from engine.workspace.schema import connect, unusable

_INSERT = """
    INSERT INTO changes (run_id, task_id, node, path, before, after, mode, span_start, span_end, added, removed,
        checks, passed, facts, state, offered_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?)
"""
_INTEND = "UPDATE changes SET intent = ?, intent_undo = ?, intent_alone = ?, intent_mixed = ? WHERE id = ?"
_SETTLE = """
    UPDATE changes SET state = ?1, reason = ?2, decided_at = ?3, in_file = ?4, intent = NULL, untold = ?5,
        prior = CASE ?1 WHEN 'accepted' THEN prior END, result = CASE ?1 WHEN 'accepted' THEN result END
    WHERE id = ?6
"""


class ChangeStore:
    """The offered changes of a project; usable by several processes and threads at once. All methods block.

    Contents are stored once each. The file grows with every run until `prune` is called. `close()` closes the database;
    so does the end of the object.

    Args:
        project_root: The project's root; `.engine/` is made in it, with a .gitignore that hides it from git.
    """

    def __init__(self, project_root: Path) -> None:
        self._folder = Path(project_root) / ".engine"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (self._folder / ".gitignore").exists():
                atomic_write(self._folder / ".gitignore", "*\n")
        except OSError as error:
            raise ConfigError(
                f"the folder {self._folder} cannot be made: {error.strerror or error}; changes are kept there"
            ) from error
        self._path = self._folder / "changes.db"
        self._db = connect(self._path)
        self._mutex = threading.RLock()
        self.close = weakref.finalize(self, self._db.close)

    def offer(
        self,
        run_id: str,
        task_id: str,
        node: str,
        changes: Iterable[Change],
        *,
        checks: Iterable[Mapping[str, Any]] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Store a task's changes as pending, as `offer_many` does.

        Args:
            run_id: The run.
            task_id: The task.
            node: The node that the task worked on, for people.
            changes: The changes.
            checks: What the bundle's checks said.
            facts: What else is known of the task.
        """
        self.offer_many([Offer(run_id, task_id, node, changes, checks, facts or {})])

    def offer_many(self, offers: Iterable[Offer]) -> None:
        """Store what tasks offer as pending, all or none, in one commit.

        What a task offered before and still waits is replaced, and so is what was rejected of the same files; accepted
        changes stay as they are.
        """
        now = time.time()
        with self._connected() as db, _transaction(db):
            for offer in offers:
                changes = list(offer.changes)
                db.execute(
                    "DELETE FROM changes WHERE run_id = ? AND task_id = ? AND state IN ('pending', 'conflict')",
                    (offer.run_id, offer.task_id),
                )
                db.executemany(
                    "DELETE FROM changes WHERE run_id = ? AND task_id = ? AND path = ? AND state = 'rejected'",
                    [(offer.run_id, offer.task_id, change.path) for change in changes],
                )
                checks, passed = _judged(offer.checks)
                for change in changes:
                    before, after = put(db, change.before), put(db, change.after)
                    who = (offer.run_id, offer.task_id, offer.node, change.path, before, after, change.mode)
                    size = (*(change.span or (None, None)), *counts(change))
                    db.execute(_INSERT, (*who, *size, checks, passed, dumped(offer.facts), now))

    def list(self, run_id: str, task_id: str | None = None, state: State | None = None) -> list[OfferedChange]:
        """Return a run's changes in the order of their offers."""
        where, values = "WHERE c.run_id = ?", [run_id]
        for column, value in (("task_id", task_id), ("state", state)):
            if value is not None:
                where += f" AND c.{column} = ?"
                values.append(value)
        return self._rows(f"{where} ORDER BY c.id", values)

    def heads(self, run_id: str, states: Sequence[State] = ()) -> Sequence[ChangeHead]:
        """Return a run's changes without their contents, in the order of their offers; no states means all."""
        marks = ", ".join("?" * len(states))
        where = f"WHERE c.run_id = ?{f' AND c.state IN ({marks})' if states else ''} ORDER BY c.id"
        with self._connected() as db:
            rows = db.execute(HEAD + where, (run_id, *states)).fetchall()
            return [head_of(db, row) for row in rows]

    def get(self, number: int) -> OfferedChange | None:
        """Return one change as it is now; None when it is gone."""
        rows = self._rows("WHERE c.id = ?", (number,))
        return rows[0] if rows else None

    def version(self) -> int:
        """Return a number that is another one when another process or store changed something."""
        with self._connected() as db:
            (number,) = db.execute("PRAGMA data_version").fetchone()
        return int(number)

    def in_file(self, path: str, before: bytes | None) -> Sequence[OfferedChange]:
        """Return the accepted changes of a file, from one starting content, that the file holds."""
        return self._rows("WHERE c.path = ? AND c.before IS ? AND c.in_file ORDER BY c.id", (path, digest(before)))

    def wrote(self, run_id: str, path: str, content: bytes | None) -> bool:
        """Whether a file's content is what accepting changes of a run last left there."""
        with self._connected() as db:
            row = db.execute(
                "SELECT CASE WHEN in_file THEN coalesce(result, after, '-') END FROM changes"
                " WHERE run_id = ? AND path = ? AND state = 'accepted' ORDER BY decided_at DESC, id DESC LIMIT 1",
                (run_id, path),
            ).fetchone()
        return row is not None and row[0] == (digest(content) or "-")

    def intents(self) -> Sequence[OfferedChange]:
        """Return the changes whose write was begun and not settled."""
        return self._rows("WHERE c.intent IS NOT NULL ORDER BY c.id", ())

    def intend(self, row: OfferedChange, result: bytes | None, prior: bytes | None, how: Intent) -> None:
        """Record durably what is about to be written, and over what.

        Args:
            row: The change.
            result: What the file is about to hold; None for its deletion.
            prior: What it holds now.
            how: What is being done.
        """
        with self._connected() as db, _transaction(db):
            db.execute(_INTEND, (digest(result) or DELETED, how.undo, how.alone, how.mixed, row.id))
            if not how.undo:
                kept = (put(db, prior) or DELETED, put(db, result) or DELETED)
                db.execute("UPDATE changes SET prior = ?, result = ? WHERE id = ?", (*kept, row.id))

    def settle(
        self, row: ChangeHead, state: State, reason: str = "", *, how: Intent | None = None, word: str = ""
    ) -> None:
        """Record a decision; an accepted change that is alone in the file takes the place of all others.

        Args:
            row: The change.
            state: Its state from now on.
            reason: Why.
            how: What was done to the file, where something was.
            word: What the run's event log is to call the decision; by default the state.
        """
        how = how or Intent()
        with self._connected() as db, _transaction(db):
            if state == "accepted" and how.alone:
                db.execute("UPDATE changes SET in_file = 0 WHERE path = ?", (row.path,))
            is_in = state == "accepted" and not how.mixed
            db.execute(_SETTLE, (state, reason, time.time(), is_in, word or state, row.id))

    def intend_together(self, rows: Sequence[ChangeHead], result: bytes | None, how: Intent) -> None:
        """Record durably what is about to be written for several changes of one file at once.

        Args:
            rows: The changes, in the order of their numbers.
            result: What the file is about to hold.
            how: What is being done.
        """
        begun = (digest(result) or DELETED, how.undo)
        with self._connected() as db, _transaction(db):
            db.executemany(_INTEND, [(*begun, how.alone and not n, how.mixed, row.id) for n, row in enumerate(rows)])
            if not how.undo:
                kept = put(db, result)
                db.executemany("UPDATE changes SET result = ? WHERE id = ?", [(kept, row.id) for row in rows])

    def settle_together(self, rows: Sequence[ChangeHead], how: Intent) -> None:
        """Record that several changes of one file were accepted, or taken out of it again.

        Args:
            rows: The changes.
            how: What was done.
        """
        state, word = ("pending", "undone") if how.undo else ("accepted", "accepted")
        with self._connected() as db, _transaction(db):
            if how.alone and not how.undo:
                db.execute("UPDATE changes SET in_file = 0 WHERE path = ?", (rows[0].path,))
            db.executemany(_SETTLE, [(state, "", time.time(), not how.undo, word, row.id) for row in rows])

    def forget_intent(self, row: ChangeHead) -> None:
        """Record that a begun write never happened."""
        with self._connected() as db:
            db.execute(
                "UPDATE changes SET intent = NULL, prior = CASE state WHEN 'accepted' THEN prior END,"
                " result = CASE state WHEN 'accepted' THEN result END WHERE id = ?",
                (row.id,),
            )

    def content(self, name: str) -> bytes | None:
        """Return a content by its hash; None for `-`, which is no file."""
        with self._connected() as db:
            return content(db, name)

    def edit(self, row: ChangeHead, after: bytes | None, checks: Mapping[int, Iterable[Mapping[str, Any]]]) -> bool:
        """Put what a person wrote in place of what a task offered; the change waits again.

        Args:
            row: The change.
            after: What the person wrote.
            checks: What the checks say now, for the number of each change of the task that still waits.

        Returns:
            False when the change does not wait any more, and nothing was done.
        """
        with self._connected() as db, _transaction(db):
            found = db.execute(
                "SELECT 1 FROM changes WHERE id = ? AND state IN ('pending', 'conflict')", (row.id,)
            ).fetchone()
            if found is None:
                return False
            now = self._rows("WHERE c.id = ?", (row.id,))[0].change
            size = counts(Change(now.path, now.before, after))
            db.execute(
                "UPDATE changes SET edited = coalesce(edited, after, '-'), after = ?, added = ?, removed = ?,"
                " state = 'pending', reason = '', decided_at = ?, untold = 'edited' WHERE id = ?",
                (put(db, after), *size, time.time(), row.id),
            )
            for number, said in checks.items():
                db.execute("UPDATE changes SET checks = ?, passed = ? WHERE id = ?", (*_judged(said), number))
        return True

    def untold(self, run_id: str) -> Sequence[tuple[ChangeHead, str]]:
        """Return the changes with a decision that the run's event log has not got yet, and its word."""
        with self._connected() as db:
            rows = db.execute(HEAD + "WHERE c.run_id = ? AND c.untold IS NOT NULL ORDER BY c.id", (run_id,)).fetchall()
            return [(head_of(db, row), row["untold"]) for row in rows]

    def told(self, heads: Iterable[ChangeHead]) -> None:
        """Record that the event log has the decisions on these changes."""
        with self._connected() as db, _transaction(db):
            db.executemany("UPDATE changes SET untold = NULL WHERE id = ?", [(head.id,) for head in heads])

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
            _drop_contents(db)
        return count

    def unsettled_runs(self) -> set[str]:
        """Return the runs with a change that waits for a decision, or whose write was begun and not settled."""
        query = "SELECT DISTINCT run_id FROM changes WHERE state NOT IN ('accepted', 'rejected') OR intent IS NOT NULL"
        with self._connected() as db:
            return {row[0] for row in db.execute(query)}

    def accepted_runs(self) -> set[str]:
        """Return the runs with accepted changes."""
        with self._connected() as db:
            return {row[0] for row in db.execute("SELECT DISTINCT run_id FROM changes WHERE state = 'accepted'")}

    def forget_runs(self, run_ids: Iterable[str]) -> int:
        """Forget the decided changes of runs, and contents that nothing needs; returns how many.

        Changes that wait for a decision are kept.
        """
        with self._connected() as db, _transaction(db):
            count = sum(
                db.execute(
                    "DELETE FROM changes WHERE run_id = ? AND state IN ('accepted', 'rejected') AND intent IS NULL",
                    (run_id,),
                ).rowcount
                for run_id in run_ids
            )
            if count:
                _drop_contents(db)
        return count

    def give_back(self) -> int:
        """Let the file shrink if a quarter of it, and a megabyte, is free; return by how many bytes."""
        with self._connected() as db:
            free, pages, size = (
                db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count", "page_size")
            )
            if free * size < 2**20 or free * 4 < pages:
                return 0
            with contextlib.suppress(sqlite3.OperationalError):  # no room for a second file, or another one uses it
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return int((pages - db.execute("PRAGMA page_count").fetchone()[0]) * size)

    @contextlib.contextmanager
    def deciding(self) -> Iterator[None]:
        """Hold the project's only permit to decide on changes; waits for others, and ends with its process.

        Raises:
            ConfigError: The folder cannot be written.
        """
        permit = self._folder / "decide.lock"
        try:
            descriptor = os.open(permit, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ConfigError(f"{permit} cannot be opened: {error.strerror or error}; nothing was decided") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._mutex:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise unusable(self._path, error) from error

    def _rows(self, where: str, values: Iterable[str | int | None]) -> builtins.list[OfferedChange]:
        with self._connected() as db:
            rows = db.execute(WHOLE + where, tuple(values)).fetchall()
            return [whole_of(row) for row in rows]


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has rolled it back already
            db.execute("ROLLBACK")
        raise


def _drop_contents(db: sqlite3.Connection) -> None:
    """Remove the contents that no change needs."""
    needed = " UNION ".join(
        f"SELECT {column} FROM changes WHERE {column} IS NOT NULL"  # noqa: S608 - the names are below
        for column in ("before", "after", "edited", "prior", "result")
    )
    db.execute(f"DELETE FROM blobs WHERE sha256 NOT IN ({needed})")  # noqa: S608 - built above


def _judged(checks: Iterable[Mapping[str, Any]]) -> tuple[str, bool]:
    """Return checks as they are stored, and whether all passed."""
    said = [dict(check) for check in checks]
    return dumped(said), all(check["passed"] for check in said)
