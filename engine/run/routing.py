"""Which adapter answers the next turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.backends import Backend
from engine.models import Adapter
from engine.prompts import Expression
from engine.run.plan import Task


class Router:
    """The manifest's `routing` for one task; adapters that the backend's model cannot carry are left out."""

    def __init__(self, task: Task, backend: Backend) -> None:
        bundle = task.bundle
        self._usable = {name: adapter for name, adapter in bundle.adapters.items() if backend.accepts(adapter)}
        self._routes = [
            (Expression(route.when) if route.when else None, route.after_tool, route.adapter)
            for route in bundle.manifest.routing
        ]
        self._default = self._usable.get(task.assignment.adapter or "")

    @property
    def default_name(self) -> str | None:
        """The adapter that answers when no route matches, or None."""
        return self._default.name if self._default else None

    def choose(self, variables: Mapping[str, Any], last_tools: Sequence[str]) -> Adapter | None:
        """Return the adapter of the next turn; the first route that matches wins.

        Args:
            variables: What `when` can read.
            last_tools: The tools that the last turn called.
        """
        for when, after_tool, name in self._routes:
            if after_tool is not None and after_tool not in last_tools:
                continue
            if when is not None and not when.evaluate(variables):
                continue
            return self._usable.get(name)
        return self._default
