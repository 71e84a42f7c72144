"""What is sent: a pure function of the messages and the tools, so that equal inputs give equal bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engine.grammar.constraint import NO_CONSTRAINT, Constraint, ConstraintOptions
from engine.kernel.history import trim
from engine.messages import Message, ToolSchema
from engine.models.base import ModelPlugin


class PromptBuilder:
    """Builds wire messages and constraints for one model family.

    Args:
        plugin: The model family.
        options: What a reply may look like; None is the family's default strategy.
        history: How many messages a request carries at most.
    """

    def __init__(self, plugin: ModelPlugin, options: ConstraintOptions | None = None, history: int = 50) -> None:
        self._plugin, self._history = plugin, history
        self._options = options or ConstraintOptions(strategy=plugin.grammar_strategy())
        self._constraints: dict[str, Constraint] = {}
        self._last: tuple[Sequence[ToolSchema], Constraint] | None = None

    def wire(self, messages: Sequence[Message], tools: Sequence[ToolSchema]) -> list[dict[str, Any]]:
        """Return the wire messages: the system turn with the tools declared natively, then what the history keeps."""
        kept = trim(messages, self._history)
        system = kept.pop(0).content if kept and kept[0].role == "system" else None
        return self._plugin.build_messages(None, system, tools, kept)

    def constraint(self, tools: Sequence[ToolSchema]) -> Constraint:
        """Return the constraint of a reply that may call these tools; made once per set of tools.

        Raises:
            ConfigError: The family has no such strategy or mode, or a schema cannot be constrained.
        """
        if not tools and self._options.custom is None:
            return NO_CONSTRAINT
        if self._last is None or self._last[0] is not tools:
            key = json.dumps([(tool.name, tool.parameters) for tool in tools], default=dict)
            if key not in self._constraints:
                self._constraints[key] = self._plugin.constraint(tools, self._options)
            self._last = (tools, self._constraints[key])
        return self._last[1]
