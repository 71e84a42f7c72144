"""The table `tasks`: how far each task of a run got, kept true to the events in their own commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from engine.events.records import TaskRow
from engine.events.types import TaskFinished, TaskStarted

_INTO = f"INSERT INTO tasks ({', '.join(TaskRow._fields)}) VALUES"
_PLAN = f"{_INTO} ({', '.join('?' * len(TaskRow._fields))}) ON CONFLICT (run_id, task_id) DO NOTHING"
# A task that no plan announced gets its row with its first event.
_START = (
    f"{_INTO} (?, ?, -1, ?, '', ?, ?, '', ?, ?, 'running', '', NULL, 1, 0, 0, 0, 0, 0)"
    " ON CONFLICT (run_id, task_id) DO UPDATE SET state = 'running', attempts = attempts + 1"
)
_END = (
    f"{_INTO} (?, ?, -1, ?, '', ?, ?, '', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (run_id, task_id) DO UPDATE SET state = excluded.state, reason = excluded.reason,"
    " error = excluded.error, attempts = max(attempts, excluded.attempts), seconds = excluded.seconds,"
    " prompt_tokens = excluded.prompt_tokens, completion_tokens = excluded.completion_tokens,"
    " changes = excluded.changes, cached = excluded.cached"
)
_MOST = 2**63 - 1


class Planned:
    """The tasks of a plan, all of which are stored at once.

    Args:
        rows: The tasks; read when they are stored, one after the other.
    """

    def __init__(self, rows: Iterable[TaskRow]) -> None:
        self._rows = rows

    def store(self, connection: sqlite3.Connection) -> None:
        """Store the tasks that are not known yet, inside the caller's transaction."""
        if isinstance(self._rows, Iterator):
            self._rows = list(self._rows)  # a second try needs them again
        try:
            connection.executemany(_PLAN, self._rows)
        except UnicodeEncodeError:
            connection.executemany(_PLAN, (_storable_row(row) for row in self._rows))


def keep_true(event: TaskStarted | TaskFinished, run_id: str, task_id: str) -> tuple[str, tuple[Any, ...]]:
    """Return the statement, with its values, that brings a task's row up to an event."""
    names = storable(event.bundle), storable(event.node_id), storable(event.node), storable(event.file)
    task = (run_id, task_id, *names, event.line)
    if isinstance(event, TaskStarted):
        return _START, task
    error = None if event.error is None else storable(event.error)
    end = (event.outcome, storable(event.reason), error, event.attempts, event.seconds)
    # The server says how many tokens there were, and may say anything.
    usage = (min(event.usage.prompt_tokens, _MOST), min(event.usage.completion_tokens, _MOST))
    return _END, (*task, *end, *usage, len(event.changed_files), event.cached)


def storable(text: str) -> str:
    """Spell out lone surrogates, which SQLite cannot store."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _storable_row(row: TaskRow) -> tuple[Any, ...]:
    return tuple(storable(value) if isinstance(value, str) else value for value in row)
