"""The plan of a run: which bundle takes which node."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.bundle import Bundle
from engine.discovery import CodeNode
from engine.models import ModelPlugin


@dataclass(frozen=True, slots=True)
class Assignment:
    """A bundle with the settings that it runs under.

    Attributes:
        bundle: The bundle.
        plugin: The model family in force.
        params: All parameters, defaults included.
        model: The model's name for the server; None is the backend's default.
        adapter: Name of the adapter that answers unless routing says otherwise; None for none.
        adapters: Whether adapters answer at all.
        insists: The person named the adapter, so that to leave it out would be an error.
        operation: The operation of engine.yaml that it stands for; empty for none.
        priority: high, normal or low: which tasks start first.
        seed: Overrides the manifest's seed.
        unconstrained: The declared constraint is left out, since the server cannot be asked for it and that is allowed.
    """

    bundle: Bundle
    plugin: ModelPlugin
    params: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    adapter: str | None = None
    adapters: bool = True
    insists: bool = False
    operation: str = ""
    priority: Literal["low", "normal", "high"] = "normal"
    seed: int | None = None
    unconstrained: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One bundle on one node.

    Attributes:
        task_id: Its id; the same for the same bundle and node in every run.
        assignment: The bundle and its settings.
        node: The node as it was when the run was planned.
        note: What a reviewer says to the model, after a first try was not good enough.
    """

    task_id: str
    assignment: Assignment
    node: CodeNode
    note: str = ""

    @property
    def bundle(self) -> Bundle:
        """The bundle."""
        return self.assignment.bundle


def matches(node: CodeNode, pattern: str) -> bool:
    """Whether a node's name, qualified name, id or `file::name` matches a glob."""
    names = (node.name, node.qualified_name, node.node_id, f"{node.file_path}::{node.qualified_name}")
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def make_tasks(
    assignments: Sequence[Assignment],
    nodes: Iterable[CodeNode],
    *,
    patterns: Sequence[str] = (),
    limit: int | None = None,
) -> list[Task]:
    """Return one task per bundle and node that it takes, in the order of the nodes.

    Args:
        assignments: The bundles.
        nodes: The discovered nodes.
        patterns: Globs; a node must match one of them, if there are any.
        limit: Upper bound of tasks: the first in this order.
    """
    tasks: list[Task] = []
    for node in nodes:
        if patterns and not any(matches(node, pattern) for pattern in patterns):
            continue
        for assignment in assignments:
            if limit is not None and len(tasks) >= limit:
                return tasks
            if assignment.bundle.takes(node, assignment.params):
                tasks.append(Task(f"{assignment.bundle.name}-{node.node_id[:12]}", assignment, node))
    return tasks
