"""The plan of a run in the event log, before its first task: what a resumed run goes by."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.events import EventLog, TaskRow
from engine.events.encode import dump, load
from engine.run.plan import Assignment, Task


class PlanRows:
    """The rows of a plan, made while they are stored: 100,000 of them need not be there at once.

    Args:
        run_id: The run.
        tasks: Its tasks, in the order of the plan.
    """

    def __init__(self, run_id: str, tasks: Sequence[Task]) -> None:
        self._run_id, self._tasks = run_id, tasks

    def __iter__(self) -> Iterator[TaskRow]:
        return (plan_row(self._run_id, place, task) for place, task in enumerate(self._tasks))


def in_force(assignments: Sequence[Assignment]) -> dict[str, dict[str, Any]]:
    """Return what determines the replies besides the bundles, by operation or bundle, as JSON values."""
    found = {
        one.operation or one.bundle.name: {
            "model": one.model,
            "plugin": one.plugin.name,
            "adapter": one.adapter if one.adapters else "none",
            "seed": one.seed,
            "params": dict(one.params),
        }
        for one in assignments
    }
    return load(dump(found))


async def record_plan(log: EventLog, run_id: str, tasks: Sequence[Task]) -> None:
    """Store a row for each task; when this returns, they are on the disk, as is all that was logged before.

    Raises:
        LogError: The log cannot be written.
    """
    log.plan(PlanRows(run_id, tasks))
    await asyncio.to_thread(log.flush)
    await asyncio.to_thread(_sync, log.path)


def plan_row(run_id: str, place: int, task: Task) -> TaskRow:
    """Return the row of a task that was not started yet."""
    node, assignment = task.node, task.assignment
    return TaskRow(
        run_id,
        task.task_id,
        place,
        assignment.bundle.name,
        assignment.operation,
        node.node_id,
        node.qualified_name,
        node.type,
        node.file_path,
        node.start_line,
    )


def _sync(path: Path) -> None:
    """Have the log survive a power cut from here on: without its plan a run cannot be gone on with."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")  # syncs the log's own files, waits for nobody
