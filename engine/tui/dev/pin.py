"""Which node is previewed, and how it is followed from save to save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.discovery import CodeNode
from engine.run import Task, matches


@dataclass(frozen=True, slots=True)
class Pin:
    """The node that was asked for.

    Attributes:
        pattern: A glob of names, as `engine run --node` takes it; None for the first node that the bundle takes.
        node_id: The id of the node that was found.
        name: Its qualified name.
    """

    pattern: str | None = None
    node_id: str | None = None
    name: str | None = None

    @property
    def wanted(self) -> str | None:
        """What messages call it."""
        return self.name or self.pattern

    def find(self, tasks: Sequence[Task]) -> Task | None:
        """Return the task of the node: the same id, else the same qualified name; before it was found, the first."""
        if self.node_id is not None:
            same = [task for task in tasks if task.node.node_id == self.node_id]
            return next(iter(same or [task for task in tasks if task.node.qualified_name == self.name]), None)
        return next((task for task in tasks if self.pattern is None or matches(task.node, self.pattern)), None)

    def at(self, node: CodeNode) -> Pin:
        """Return the pin at a node."""
        return Pin(self.pattern, node.node_id, node.qualified_name)
