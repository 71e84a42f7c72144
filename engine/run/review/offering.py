"""What a task came to, as the change store keeps it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.discovery import CodeNode, parse_file
from engine.run.task import TaskResult
from engine.workspace import Change, Offer


def offer_of(run_id: str, result: TaskResult) -> Offer:
    """Return what a task offers, with what its checks said and what a person may select it by.

    Args:
        run_id: The run.
        result: What came of the task.
    """
    node = result.task.node
    return Offer(
        run_id,
        result.task.task_id,
        f"{node.file_path}::{node.qualified_name}",
        [_located(change, node) for change in result.changes],
        [check._asdict() for check in result.checks],
        _facts(result),
    )


def _facts(result: TaskResult) -> dict[str, Any]:
    task, node = result.task, result.task.node
    return {
        "bundle": task.bundle.name,
        "operation": task.assignment.operation,
        "node": {
            "id": node.node_id,
            "name": node.name,
            "qualified_name": node.qualified_name,
            "type": node.type,
            "line": node.start_line,
        },
        "outcome": result.outcome,
        "reason": result.reason,
        "turns": result.turns,
        "cached": result.cached,
        "attempts": result.attempts,
        "seconds": result.seconds,
    }


def _located(change: Change, node: CodeNode) -> Change:
    """Return the change with the place of the task's node in the file that it started from."""
    if change.span is not None or change.path != node.file_path or change.before is None:
        return change
    span = (node.start_byte, node.end_byte)
    if change.before[slice(*span)] != node.text.encode():
        found = (one for one in parse_file(change.before, change.path, node.language) if one.node_id == node.node_id)
        span = next(((one.start_byte, one.end_byte) for one in found), (-1, -1))
    return replace(change, span=span) if span[0] >= 0 else change
