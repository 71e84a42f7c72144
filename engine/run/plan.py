"""The plan of a run: which bundle takes which node."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.bundle import Bundle
from engine.discovery import CodeNode
from engine.files import matches_any
from engine.models import ModelPlugin
from engine.run.select import Shard, in_shard
from engine.workspace.change import Change


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
        operation: The operation of engine.yaml that it stands for; empty for a bundle that was named itself.
        types: Only nodes of these types, of those that the bundle takes; empty means all.
        paths: Only nodes of files that match one of these globs; empty means all.
        after: The operations that come before it, as engine.yaml names them.
        auto_accept: Its changes are accepted at the end of the run.
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
    types: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    auto_accept: bool = False
    priority: Literal["low", "normal", "high"] = "normal"
    seed: int | None = None
    unconstrained: bool = False

    @property
    def name(self) -> str:
        """What it is called: the operation's name, else the bundle's."""
        return self.operation or self.bundle.name

    def takes(self, node: CodeNode) -> bool:
        """Tell whether it takes a node.

        Raises:
            PromptError: The bundle's `nodes.when` fails for this node.
        """
        if self.types and node.type not in self.types:
            return False
        if self.paths and not matches_any(node.file_path, self.paths):
            return False
        return self.bundle.takes(node, self.params)


@dataclass(frozen=True, slots=True)
class Task:
    """One bundle on one node.

    Attributes:
        task_id: Its id; the same for the same operation or bundle and node in every run.
        assignment: The bundle and its settings.
        node: The node as it was when the run was planned.
        note: What a reviewer says to the model, after a first try was not good enough.
        base: What tasks that come before it offered: it sees that as if it were in the project.
    """

    task_id: str
    assignment: Assignment
    node: CodeNode
    note: str = ""
    base: tuple[Change, ...] = field(default=(), repr=False)

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
    shard: Shard | None = None,
    limit: int | None = None,
) -> list[Task]:
    """Return one task per bundle and node that it takes, in the order of the nodes.

    Args:
        assignments: The bundles.
        nodes: The discovered nodes.
        patterns: Globs; a node must match one of them, if there are any.
        shard: Only nodes of this part.
        limit: Upper bound of tasks: the first in this order.
    """
    tasks: list[Task] = []
    for node in nodes:
        if patterns and not any(matches(node, pattern) for pattern in patterns):
            continue
        if not in_shard(node.node_id, shard):
            continue
        for assignment in assignments:
            if limit is not None and len(tasks) >= limit:
                return tasks
            if assignment.takes(node):
                tasks.append(Task(f"{assignment.name}-{node.node_id[:12]}", assignment, node))
    return tasks
