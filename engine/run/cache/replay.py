"""From a stored result to that of a task now: its changes on the files as they are, under the same permissions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.errors import EngineError
from engine.run.cache.entry import Entry
from engine.run.cache.record import Write, content_digest, text_digest
from engine.run.checks import CheckResult, parse_problem
from engine.run.editor import NodeEditor
from engine.run.plan import Task
from engine.run.task import TaskResult
from engine.workspace import Change, Snapshot, Workspace


def result_now(task: Task, entry: Entry, writes: Sequence[Write], project: Snapshot) -> TaskResult | None:
    """Return what a task comes to without running it, or None where that cannot be told any more.

    Everything is written through a workspace with the bundle's permissions, whatever the entry says.

    Args:
        task: The task.
        entry: A stored result whose reads hold.
        writes: What it left in files.
        project: The files as they are now.
    """
    try:
        said = json.loads(entry.result)
        workspace = Workspace(project.root, task.bundle.manifest.permissions, project=project)
        workspace.build_on(task.base)
        changes = _changes(task, entry, writes, workspace, project)
        if changes is None or not _still_passes(task, changes, writes):
            return None
        return TaskResult(
            task,
            "finished",
            str(said["reason"]),
            summary=str(said["summary"]),
            changes=tuple(changes),
            turns=int(said["turns"]),
            usage=entry.usage,
            adapter=None if said["adapter"] is None else str(said["adapter"]),
            checks=tuple(_check(row) for row in said["checks"]),
            cached=True,
            cost=0.0,
        )
    except (EngineError, LookupError, TypeError, ValueError):
        return None


def _changes(
    task: Task, entry: Entry, writes: Sequence[Write], workspace: Workspace, project: Snapshot
) -> list[Change] | None:
    """Write everything again; None where the node or a file is not what it was."""
    node = task.node
    below = next((change for change in task.base if change.path == node.file_path), None)
    content = project.live(node.file_path).content if below is None else below.after
    if content is None or content[node.start_byte : node.end_byte] != node.text.encode():
        return None  # it changed since the run was planned
    editor = NodeEditor(workspace, node)
    if entry.source is not None and text_digest(editor.source()) != entry.source:
        return None
    for write in writes:
        _write(write, editor, workspace)
    changes = workspace.changes()
    before = {write.path: write.before for write in writes if not write.node}
    if [change.path for change in changes] != sorted(write.path for write in writes):
        return None
    same = all(content_digest(change.before) == before[change.path] for change in changes if change.path in before)
    span = (node.start_byte, node.end_byte)
    if not same:
        return None
    return [replace(change, span=span) if change.path == node.file_path else change for change in changes]


def _write(write: Write, editor: NodeEditor, workspace: Workspace) -> None:
    if write.node and write.after is not None:
        editor.replace(write.after.decode("utf-8"))
    elif write.after is None:
        workspace.delete(write.path)
    else:
        workspace.write_bytes(write.path, write.after, None if write.mode is None else write.mode & 0o777)


def _still_passes(task: Task, changes: Sequence[Change], writes: Sequence[Write]) -> bool:
    """Repeat the check that the files parse, where they were others then; commands are part of what was read."""
    if "parses" not in task.bundle.manifest.checks:
        return True
    then = {write.path: write.before for write in writes}
    return all(
        content_digest(change.before) == then[change.path]
        or parse_problem(change.path, change.before, change.after) is None
        for change in changes
    )


def _check(row: Any) -> CheckResult:
    file, check, passed, detail = row
    return CheckResult(str(file), str(check), bool(passed), str(detail))
