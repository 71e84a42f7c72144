"""Forgetting runs: their rows go in small steps, so that a run that goes on meanwhile never waits for long."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from engine.events.liveness import ProcessMark, is_gone, this_process
from engine.events.schema import connect
from engine.events.trouble import log_error

_STEP = 2000  # rows and pages at once: some 20 ms
_WORTH_IT = 2**23  # free bytes for which a file is written anew
_FORGET = {
    "events": "DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE run_id = ? LIMIT ?)",
    "tasks": "DELETE FROM tasks WHERE (run_id, task_id) IN"
    " (SELECT run_id, task_id FROM tasks WHERE run_id = ? LIMIT ?)",
    "used": "DELETE FROM used WHERE run_id IN (SELECT run_id FROM used WHERE run_id = ? LIMIT ?)",
}
# The next run id that the table knows, one look at the index each; a process that died here left rows without a run.
_NEXT = "SELECT min(run_id) FROM {} WHERE run_id > ?"
_BEFORE_ALL = -1  # SQLite sorts numbers before texts

Stop = Callable[[], bool]


class Forgotten(NamedTuple):
    """What was forgotten.

    Attributes:
        runs: The ids of the runs.
        events: How many events.
        tasks: How many tasks.
        bytes: How much smaller the file is.
    """

    runs: tuple[str, ...]
    events: int
    tasks: int
    bytes: int


def is_running(path: Path, run_id: str, *, unknown: bool = True) -> bool:
    """Whether a run goes on in a living process.

    Args:
        path: The event log.
        run_id: The run.
        unknown: What to say of a process on another machine, which cannot be looked at.
    """
    with contextlib.closing(connect(path)) as database:
        return _is_running(database, run_id, unknown=unknown)


def forget_runs(path: Path, run_ids: Iterable[str], *, unknown: bool = True, stop: Stop = lambda: False) -> Forgotten:
    """Forget runs with their events and tasks, and give the space back; a run that goes on is left alone.

    Args:
        path: The event log.
        run_ids: The runs.
        unknown: Also leave those alone that go on as far as can be seen from here, on another machine.
        stop: Asked between two steps; the rest is left to the next call.

    Raises:
        LogError: The file is damaged, locked, or cannot be written.
    """
    before = _size(path)
    counts = dict.fromkeys(_FORGET, 0)
    with contextlib.closing(connect(path)) as database:
        try:
            gone = [run_id for run_id in run_ids if not stop() and _take_out(database, run_id, unknown=unknown)]
            for table in _FORGET:
                counts[table] = _remove(database, table, stop)
            _give_back(database, stop)
        except sqlite3.Error as error:
            raise log_error(path, "written", error) from error
    return Forgotten(tuple(gone), counts["events"], counts["tasks"], max(0, before - _size(path)))


def _take_out(database: sqlite3.Connection, run_id: str, *, unknown: bool) -> bool:
    """Remove a run's row, after which nobody sees the run; its other rows have no run any more."""
    database.execute("BEGIN IMMEDIATE")
    try:
        gone = not _is_running(database, run_id, unknown=unknown)
        if gone:
            gone = database.execute("DELETE FROM runs WHERE run_id = ?", (run_id,)).rowcount > 0
    finally:
        database.execute("COMMIT")
    return gone


def _is_running(database: sqlite3.Connection, run_id: str, *, unknown: bool) -> bool:
    row = database.execute("SELECT status, pid, born, place FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None or row[0] != "running":
        return False
    mark = ProcessMark(*row[1:])
    return not is_gone(mark) and (unknown or mark.place == this_process().place)


def _remove(database: sqlite3.Connection, table: str, stop: Stop) -> int:
    """Remove the rows of a table that have no run."""
    removed, run_id = 0, _BEFORE_ALL
    while (run_id := database.execute(_NEXT.format(table), (run_id,)).fetchone()[0]) is not None:
        while not stop():
            database.execute("BEGIN IMMEDIATE")
            known = database.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone()
            count = 0 if known else database.execute(_FORGET[table], (run_id, _STEP)).rowcount
            database.execute("COMMIT")
            removed += count
            if count < _STEP:
                break
    return removed


def _give_back(database: sqlite3.Connection, stop: Stop) -> None:
    """Let the file shrink: in steps, or where it is not made for that at once, if that is worth it and nothing runs."""
    free, size, small_steps = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size", "auto_vacuum")
    )
    if small_steps:
        while free > 0 and not stop():
            database.executescript(f"PRAGMA incremental_vacuum({_STEP})")  # `execute` ends it after one page
            free -= _STEP
    elif free * size >= _WORTH_IT and not _any_running(database):
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        with contextlib.suppress(sqlite3.OperationalError):  # there is no room for a second file, or somebody reads
            database.execute("VACUUM")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _any_running(database: sqlite3.Connection) -> bool:
    rows = database.execute("SELECT run_id FROM runs WHERE status = 'running'").fetchall()
    return any(_is_running(database, row[0], unknown=True) for row in rows)


def _size(path: Path) -> int:
    total = 0
    for each in (path, path.with_name(f"{path.name}-wal")):
        with contextlib.suppress(OSError):
            total += each.stat().st_size
    return total
