"""The table `tasks`: how far each task of a run got, kept true to the events in their own commits."""

from __future__ import annotations

from typing import Any

from engine.events.types import TaskFinished, TaskStarted

PLAN_TASK = "INSERT OR IGNORE INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# A task that no plan announced gets its row with its first event.
_START = (
    "INSERT INTO tasks VALUES (?, ?, -1, ?, '', ?, ?, '', ?, ?, 'running', '', NULL, 1, 0, 0, 0, 0, 0)"
    " ON CONFLICT (run_id, task_id) DO UPDATE SET state = 'running', attempts = attempts + 1"
)
_END = (
    "INSERT INTO tasks VALUES (?, ?, -1, ?, '', ?, ?, '', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (run_id, task_id) DO UPDATE SET state = excluded.state, reason = excluded.reason,"
    " error = excluded.error, attempts = max(attempts, excluded.attempts), seconds = excluded.seconds,"
    " prompt_tokens = excluded.prompt_tokens, completion_tokens = excluded.completion_tokens,"
    " changes = excluded.changes, cached = excluded.cached"
)


def keep_true(event: TaskStarted | TaskFinished, run_id: str, task_id: str) -> tuple[str, tuple[Any, ...]]:
    """Return the statement, with its values, that brings a task's row up to an event."""
    task = (run_id, task_id, event.bundle, event.node_id, storable(event.node), storable(event.file), event.line)
    if isinstance(event, TaskStarted):
        return _START, task
    end = (event.outcome, event.reason, None if event.error is None else storable(event.error), event.attempts)
    usage = (event.usage.prompt_tokens, event.usage.completion_tokens)
    return _END, (*task, *end, event.seconds, *usage, len(event.changed_files), event.cached)


def storable(text: str) -> str:
    """Spell out lone surrogates, which SQLite cannot store."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
