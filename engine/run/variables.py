"""What prompts, expressions and bound inputs can read about a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.run.plan import Task


def task_variables(task: Task, context: Mapping[str, Any], *, adapter: str | None, turn: int = 1) -> dict[str, Any]:
    """Return the variables of `prompts.prompt_scope`, filled for one task.

    Args:
        task: The task.
        context: Results of the context providers by name.
        adapter: The adapter that answers by default, or None when none is in force.
        turn: The turn that is about to start, 1-based.
    """
    node, assignment = task.node, task.assignment
    return {
        "node": node,
        "params": dict(assignment.params),
        "context": dict(context),
        "model": {"plugin": assignment.plugin.name, "id": assignment.model, "adapter": adapter},
        "tools": [schema.name for schema in task.bundle.tool_schemas],
        "turn": turn,
        "node_id": node.node_id,
        "node_name": node.name,
        "node_type": node.type,
        "node_text": node.text,
        "file_path": node.file_path,
        "start_line": node.start_line,
        "end_line": node.end_line,
    }
