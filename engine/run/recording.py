"""The plan of a run in the event log, before its first task: what a resumed run goes by."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from engine.events import EventLog, TaskRow
from engine.run.plan import Task


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


async def record_plan(log: EventLog, run_id: str, tasks: Sequence[Task]) -> None:
    """Store a row for each task; when this returns, they are in the file.

    Raises:
        LogError: The log cannot be written.
    """
    log.plan(PlanRows(run_id, tasks))
    await asyncio.to_thread(log.flush)


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
