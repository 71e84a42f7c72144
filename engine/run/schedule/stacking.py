"""A task that comes after others starts from what they offered, so that its own change goes on top of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.discovery import CodeNode, parse_file
from engine.events import Bus, TaskRow
from engine.run.plan import Task
from engine.run.schedule.dependencies import dependencies, meets, predecessors
from engine.run.task import TaskResult
from engine.workspace import Change, ChangeStore, merge

if TYPE_CHECKING:
    from engine.run.execute import TaskRunner


def tasks_before(tasks: Sequence[Task], earlier: Callable[[], Iterable[TaskRow]] | None) -> dict[str, list[str]]:
    """Return, for each task that comes after others, the ids of those.

    Args:
        tasks: The tasks of the plan.
        earlier: Returns the rows of tasks that ended in an earlier part of the run.
    """
    before = predecessors({id(task.assignment): task.assignment for task in tasks}.values())
    found: dict[str, list[str]] = {}
    if not any(before.values()):
        return found
    for first, then in dependencies(tasks, before):
        found.setdefault(tasks[then].task_id, []).append(tasks[first].task_id)
    files: dict[str, list[TaskRow]] = {}
    for row in earlier() if earlier is not None else ():
        files.setdefault(row.file, []).append(row)
    for task in tasks:
        names = before.get(task.assignment.operation, frozenset())
        for row in files.get(task.node.file_path, ()):
            if row.operation in names and meets(row, task):
                found.setdefault(task.task_id, []).append(row.task_id)
    return found


def stacked(changes: Iterable[Change]) -> list[Change]:
    """Return one change for each file: what all of them come to together, in their order.

    Where two don't fit together the first one stays; a person decides on them one by one.
    """
    files: dict[str, Change] = {}
    for change in changes:
        below = files.get(change.path)
        if below is None:
            files[change.path] = change
        elif change.before == below.after:
            files[change.path] = replace(below, after=change.after)
        elif (merged := merge(change.before, below.after, change.after).content) is not None:
            files[change.path] = replace(below, after=merged)
    return list(files.values())


class Stacked:
    """Runs each task on what those before it offered and what nobody has decided on yet.

    Args:
        inner: Where the tasks run.
        before: For each task the ids of those that come before it.
        store: Where they offered their changes.
    """

    def __init__(self, inner: TaskRunner, before: Mapping[str, Sequence[str]], store: ChangeStore) -> None:
        self._inner, self._before, self._store = inner, before, store

    async def run(self, task: Task, bus: Bus, run_id: str) -> TaskResult:
        """Run one task; one whose node they took away is skipped."""
        before = self._before.get(task.task_id)
        base = await asyncio.to_thread(self._offered, run_id, before) if before else ()
        if not base:
            return await self._inner.run(task, bus, run_id)
        node = await asyncio.to_thread(node_in, base, task)
        if node is None:
            names = ", ".join(dict.fromkeys(before or ()))
            error = f"{task.node.file_path} has no {task.node.type} {task.node.qualified_name} any more after {names}"
            return TaskResult(task, "skipped", "after", error=error)
        return await self._inner.run(replace(task, node=node, base=base), bus, run_id)

    def _offered(self, run_id: str, task_ids: Iterable[str]) -> tuple[Change, ...]:
        rows = [row for task_id in dict.fromkeys(task_ids) for row in self._store.list(run_id, task_id)]
        waiting = [row for row in rows if row.state in ("pending", "conflict") and row.passed]
        return tuple(stacked(row.change for row in sorted(waiting, key=lambda row: row.id)))


def node_in(base: Iterable[Change], task: Task) -> CodeNode | None:
    """Return a task's node as it is after some changes; None when it is gone."""
    node = task.node
    change = next((change for change in base if change.path == node.file_path), None)
    if change is None:
        return node
    nodes = parse_file(change.after or b"", node.file_path, node.language, task.bundle.query)
    return next((one for one in nodes if one.node_id == node.node_id), None)
