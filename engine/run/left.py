"""From the rows of the tasks that are left to tasks again: only the files that they live in are looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.discovery import CodeNode, Discovery, discover_async, language_of
from engine.events import TaskRow
from engine.run.plan import Assignment, Task
from engine.run.resume import Past, Resumed, Settled
from engine.run.run_plan import Plan
from engine.run.settled import settled_results
from engine.run.sources import gone
from engine.run.task import TaskResult
from engine.workspace import ChangeStore

Key = tuple[str, str]
"""An operation (empty for a bundle that was named itself) and a bundle."""


@dataclass(frozen=True, slots=True)
class Project:
    """Where the run takes place.

    Attributes:
        root: The project's root.
        log: The file of the event log.
        store: The change store.
    """

    root: Path
    log: Path
    store: ChangeStore


async def plan_left(
    past: Past, assignments: Sequence[Assignment], project: Project, resumed: Resumed, *, when_gone: str
) -> Plan:
    """Return the plan of what is left.

    Nodes are found by their ids; whether a bundle takes them was decided when the run was planned. A task whose node is
    not there any more ends as `stopped`, one whose changes are stored already as `finished`.

    Args:
        past: The run so far.
        assignments: The bundles with their settings.
        project: Where the run takes place.
        resumed: What the session is told besides.
        when_gone: What a person can do about a node that is gone.
    """
    before = resumed.rows
    by_key = {(one.operation, one.bundle.name): one for one in assignments}
    offered = await asyncio.to_thread(settled_results, past, project.log, project.store)
    open_rows = [row for row in past.left if row.task_id not in offered and _key(row) in by_key]
    found = [await _find(project.root, rows, query) for query, rows in _by_query(open_rows, by_key).items()]
    nodes = {(query, node.node_id): node for query, part in found for node in part.nodes}
    tasks: list[Task] = []
    settled: list[Settled] = []
    for row in past.left:
        assignment = by_key.get(_key(row))
        node = nodes.get((assignment.bundle.query, row.node_id)) if assignment is not None else None
        stand_in = Task(row.task_id, assignment or assignments[0], _remembered(row))
        if row.task_id in offered:
            known = offered[row.task_id]
            settled.append(replace(known, result=replace(known.result, task=stand_in)))
        elif assignment is None or node is None:
            settled.append(Settled(gone(stand_in, when_gone)))
        else:
            tasks.append(Task(row.task_id, assignment, node))
    parts = tuple(part for _, part in found)
    ends = {one.result.task.task_id: one.result for one in settled}
    over = [_at_end(row, ends[row.task_id]) for row in past.left if row.task_id in ends]
    resumed = replace(resumed, settled=tuple(settled), rows=lambda: [*before(), *over])
    return Plan(tuple(assignments), parts, tuple(tasks), resumed=resumed)


def _at_end(row: TaskRow, result: TaskResult) -> TaskRow:
    return row._replace(state=result.outcome, reason=result.reason, changes=len(result.changes))


def _key(row: TaskRow) -> Key:
    return row.operation, row.bundle


def _by_query(rows: Iterable[TaskRow], by_key: Mapping[Key, Assignment]) -> dict[str | None, list[TaskRow]]:
    """Sort the rows by the query that finds their nodes."""
    parts: dict[str | None, list[TaskRow]] = {}
    for row in rows:
        parts.setdefault(by_key[_key(row)].bundle.query, []).append(row)
    return parts


async def _find(root: Path, rows: Sequence[TaskRow], query: str | None) -> tuple[str | None, Discovery]:
    names = dict.fromkeys(row.file for row in rows)
    files = await asyncio.to_thread(lambda: [root / name for name in names if _is_there(root, name)])
    if not files:
        return query, Discovery((), 0)
    types = sorted({row.type for row in rows}) if query is None else None
    languages = sorted({str(language_of(path.name)) for path in files}) if query is not None else None
    return query, await discover_async(files, root=root, languages=languages, types=types, query=query)


def _is_there(root: Path, name: str) -> bool:
    """Whether a file is still where it was: not moved, not replaced by a link to another place."""
    path = root / name
    return language_of(name) is not None and path.is_file() and path.resolve() == path


def _remembered(row: TaskRow) -> CodeNode:
    """Return what the log knows of a node that need not be there any more."""
    language = language_of(row.file) or ""
    name = row.node.rpartition(".")[2]
    return CodeNode(row.node_id, row.type, name, row.node, language, row.file, "", None, row.line, row.line, 0, 0)
